"""Results of ``vop eval``: what is written can be read, and damage is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import make_document
from vopcli.config.choices import DatasetName, TieRule, Variant
from vopcli.errors import DataError, FileError
from vopcli.evaluation.results import Answer, read_results

DOCUMENT = make_document(
    "P",
    9,
    [1.0, 2.5],
    dataset="msrvtt-9k",
    published={"t2v": {"R@1": 40.1, "MdR": 2}, "v2t": {"R@1": 42.5}},
)


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_result_is_written_as_it_was_read(tmp_path: Path) -> None:
    other = make_document("zero-shot", 0, [3.0])
    first, second = read_results(write(tmp_path / "a.json", [DOCUMENT, other]))
    [again] = read_results(write(tmp_path / "b.json", first.to_json()))
    assert again.to_json() == first.to_json()
    earlier = {name: value for name, value in other["data"].items() if name not in {"other_size", "ranges"}}
    [without] = read_results(write(tmp_path / "c.json", {**other, "data": earlier}))
    assert without.to_json() == second.to_json()
    assert (second.selected, second.seed, second.training, second.trained_on) == (None,) * 4
    # settings that are left out have their defaults, all else is unchanged
    given = {key: value for key, value in DOCUMENT.items() if key not in {"tuning", "training"}}
    assert {key: first.to_json()[key] for key in given} == given


def test_fields_have_the_values_of_the_document(tmp_path: Path) -> None:
    [result] = read_results(write(tmp_path / "a.json", DOCUMENT))
    assert (result.variant, result.tuning.variant, result.dataset) == ("P", Variant.P, DatasetName.MSRVTT_9K)
    assert result.answers[1] == Answer("caption 1", "1.mp4", ["other.mp4", "1.mp4"])
    assert result.metrics.ties is TieRule.AVERAGE
    assert result.metrics.t2v.ranks.tolist() == [1.0, 2.5]
    assert result.metrics.v2t.by_name == {
        "R@1": 50.0,
        "R@5": 100.0,
        "R@10": 100.0,
        "R@100": 100.0,
        "SumR": 350.0,
        "MdR": 2.5,
        "MdR_lower": 1.0,
        "MnR": 1.75,
    }


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (("target",), 3, "target is 3, not text"),
        (("seed",), 1.5, "seed is 1.5, not an integer"),
        (("num_trained",), -1, "num_trained is -1, not a number from 0"),
        (("num_frames",), True, "num_frames is True, not a number"),
        (("training", "epochs"), 0, "training: epochs must be from 1"),
        (("dataset",), "imagenet", "'imagenet' is not a valid DatasetName"),
        (("selected", "epoch"), None, "epoch is None, not a number"),
        (("data", "notes"), "odd", "notes is 'odd', not a list of texts"),
        (("published", "t2v", "R@1"), "40", "R@1 is '40', not a number"),
        (("t2v", "R@5"), 101, "R@5 is 101, not a number from 0 to 100"),
        (("t2v", "queries"), [0], "t2v has 2 ranks for 2 queries"),
        (("v2t", "num_queries"), 3, "v2t has 2 ranks for 2 queries"),
        (("v2t", "ranks"), [1.0, 0.5], "a rank is not a number of at least 1"),
        (("answers",), [], "t2v has 2 ranks for 0 queries"),
        (("answers", 0, "top"), [], "top is empty"),
    ],
)
def test_a_damaged_field_is_named(tmp_path: Path, place: tuple[str, ...], value: Any, match: str) -> None:
    changed = copy.deepcopy(DOCUMENT)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    with pytest.raises(DataError, match=rf"a\.json is damaged: .*{match}"):
        read_results(write(tmp_path / "a.json", changed))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != "pooling"}
    with pytest.raises(DataError, match=r"a\.json is not a result of this version's .*'pooling' is missing"):
        read_results(write(tmp_path / "a.json", document))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileError, match=r"a\.json does not exist"):
        read_results(path)
    with pytest.raises(DataError, match=r"a\.json does not hold results of `vop eval`"):
        read_results(write(path, []))
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"a\.json is not JSON"):
        read_results(path)
