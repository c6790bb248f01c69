"""``vop compare`` on files as ``vop eval --json`` prints them."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.pages import make_document
from vopcli.cli.app import app
from vopcli.errors import DataError, UsageError
from vopcli.evaluation.compare import compare_files, result_intervals
from vopcli.evaluation.results import read_results

NUM_VIDEOS, PER_VIDEO = 8, 3


def document(target: str, ranks: list[float], video_ranks: list[float]) -> dict[str, Any]:
    t2v, v2t = (make_document("VoP", 1, row)["t2v"] for row in (ranks, video_ranks))
    answers = [
        {"caption": f"caption {i}", "video": f"{i // PER_VIDEO}.mp4", "top": ["0.mp4"]}
        for i in range(len(ranks))
    ]
    return make_document("VoP", 1, ranks, target=target, t2v=t2v, v2t=v2t, answers=answers)


@pytest.fixture
def results() -> list[dict[str, Any]]:
    generator = np.random.default_rng(3)
    drawn = generator.integers(1, NUM_VIDEOS + 1, (2, NUM_VIDEOS * PER_VIDEO)).astype(float).tolist()
    videos = generator.integers(1, NUM_VIDEOS + 1, (2, NUM_VIDEOS)).astype(float).tolist()
    return [document(name, *rows) for name, *rows in zip(("one", "two"), drawn, videos, strict=True)]


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_values_wins_and_intervals_are_those_of_a_plain_loop(
    tmp_path: Path, results: list[dict[str, Any]]
) -> None:
    files = [write(tmp_path / f"{i}.json", result) for i, result in enumerate(results)]
    found = compare_files(files).to_json()
    first, second = (np.array(result["t2v"]["ranks"]) for result in results)
    against = found["models"][1]["t2v"]["against_baseline"]
    assert against["wins"] == sum(b < a for a, b in zip(first, second, strict=True))
    assert against["losses"] == sum(b > a for a, b in zip(first, second, strict=True))
    assert against["num_groups"] == NUM_VIDEOS
    generator = np.random.default_rng(0)
    change = np.array([100.0 * ((b <= 5) - float(a <= 5)) for a, b in zip(first, second, strict=True)])
    by_video = change.reshape(NUM_VIDEOS, PER_VIDEO)
    means = [by_video[generator.integers(0, NUM_VIDEOS, NUM_VIDEOS)].mean() for _ in range(10_000)]
    interval = against["difference"]["R@5"]
    assert interval["value"] == pytest.approx(change.mean())
    assert [interval["low"], interval["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=2.5)
    assert "against_baseline" not in found["models"][0]["t2v"]
    ratios = {f"caption {i}": a / b for i, (a, b) in enumerate(zip(first, second, strict=True))}
    won = against["most_won"]
    assert [ratios[item["caption"]] for item in won] == sorted(ratios.values(), reverse=True)[:3]
    assert all(item["rank_before"] / item["rank"] == ratios[item["caption"]] for item in won)
    assert [ratios[item["caption"]] for item in against["most_lost"]] == sorted(ratios.values())[:3]


def test_the_intervals_of_a_result_are_those_of_the_comparison(
    tmp_path: Path, results: list[dict[str, Any]]
) -> None:
    file = write(tmp_path / "both.json", results)
    [result, _] = read_results(file)
    intervals = result_intervals(result)
    for direction in ("t2v", "v2t"):
        for name, recall in compare_files([file]).to_json()["models"][0][direction]["recall"].items():
            assert asdict(intervals[direction, name]) == recall
    several = {**results[0], "t2v": {**results[0]["t2v"], "num_ranks": 99}}
    [result] = read_results(write(tmp_path / "several.json", several))
    assert {direction for direction, _ in result_intervals(result)} == {"v2t"}


def test_a_baseline_is_chosen_by_name_or_file(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    both = write(tmp_path / "both.json", results)
    assert compare_files([both]).baseline.name == "one"
    assert compare_files([both], baseline="two").baseline.name == "two"
    other = write(tmp_path / "other.json", {**results[0], "target": "three"})
    assert compare_files([both, other], baseline=str(other)).baseline.name == "three"
    with pytest.raises(UsageError, match="no model has the name 'four'"):
        compare_files([both], baseline="four")
    with pytest.raises(UsageError, match="one model alone"):
        compare_files([other])
    same = compare_files([both, both])
    assert [model.name for model in same.models][2:] == [f"{both}:one", f"{both}:two"]


def test_another_pooling_is_part_of_the_name(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    pooled = write(tmp_path / "pooled.json", {**results[1], "target": "one", "pooling": "max"})
    found = compare_files([write(tmp_path / "one.json", results[0]), pooled])
    assert [model.name for model in found.models] == ["one pooled by mean", "one pooled by max"]
    assert [model.result.pooling for model in found.models] == ["mean", "max"]
    assert compare_files([pooled, pooled]).models[0].name == f"{pooled}:one"


def test_captions_that_changed_are_results_and_no_others_are_listed(
    tmp_path: Path, results: list[dict[str, Any]]
) -> None:
    ranks = [2.0, 3.0, 1.0] * NUM_VIDEOS
    changed = [1.0, 7.5, *ranks[2:]]
    videos = results[0]["v2t"]["ranks"]
    files = [
        str(write(tmp_path / f"{name}.json", document(name, row, videos)))
        for name, row in (("old", ranks), ("new", changed))
    ]
    done = CliRunner().invoke(app, ["compare", *files, "--show", "9"])
    assert done.exit_code == 0, done.stderr
    assert [line.split("\t") for line in done.stdout.splitlines()[12:]] == [
        ["new", "better", "2", "1", "caption 0", "0.mp4"],
        ["new", "worse", "3", "7.5", "caption 1", "0.mp4"],
    ]


def change_split(result: dict[str, Any]) -> None:
    result["split"] = "val"


def change_ties(result: dict[str, Any]) -> None:
    result["ties"] = "pessimistic"


def change_caption(result: dict[str, Any]) -> None:
    result["answers"][4]["caption"] = "another"


def change_gallery(result: dict[str, Any]) -> None:
    result["t2v"]["gallery_size"] = 99


def drop_ranks(result: dict[str, Any]) -> None:
    del result["t2v"]["ranks"]


def cut_ranks(result: dict[str, Any]) -> None:
    result["t2v"]["ranks"].pop()


def spoil_rank(result: dict[str, Any]) -> None:
    result["v2t"]["ranks"][0] = float("nan")


def overflow_rank(result: dict[str, Any]) -> None:
    result["t2v"]["ranks"][0] = float("inf")


def list_pooling(result: dict[str, Any]) -> None:
    result["pooling"] = ["mean"]


def name_rank(result: dict[str, Any]) -> None:
    result["v2t"]["ranks"][0] = "first"


def count_ties(result: dict[str, Any]) -> None:
    result["v2t"]["num_ranks"] = 9


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (change_split, "differ in split: test and val"),
        (change_ties, "differ in rule for equal scores"),
        (change_caption, "have different captions: 'caption 4' of 1.mp4, and 'another'"),
        (change_gallery, "differ in gallery"),
        (drop_ranks, "'ranks' is missing"),
        (cut_ranks, "t2v has 23 ranks for 24 queries"),
        (spoil_rank, "a rank is not a number of at least 1"),
        (overflow_rank, "a rank is not a number of at least 1"),
        (list_pooling, "pooling is .*, not text"),
        (name_rank, "could not convert string"),
        (count_ties, "--ties clip4clip"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, results: list[dict[str, Any]], change: Any, match: str
) -> None:
    changed = copy.deepcopy(results[1])
    change(changed)
    files = [write(tmp_path / "a.json", results[0]), write(tmp_path / "b.json", changed)]
    with pytest.raises(DataError, match=match):
        compare_files(files)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"t2v": 1}', "[" * 100_000])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        compare_files([path, path])
