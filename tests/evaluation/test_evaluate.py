"""Evaluation of targets: the newest run, the plain backbone, and names that are refused early."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.config.load import load_config
from vopcli.datasets.benchmark import add_ranges
from vopcli.errors import DataError
from vopcli.evaluation.evaluate import EvaluateRequest, evaluate, newest_run
from vopcli.evaluation.published import comparable_dataset
from vopcli.evaluation.results import EvalResult
from vopcli.frames.plan import ExtractRequest
from vopcli.progress import SilentProgress


def make_run(folder: Path, seconds: int) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").touch()
    os.utime(folder / "adapter.safetensors", (seconds, seconds))


def test_the_newest_run_is_that_of_the_last_adapter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold a finished run"):
        newest_run(tmp_path)
    make_run(tmp_path / "preset/VoP-seed0", 5)
    with pytest.raises(DataError) as caught:
        newest_run(tmp_path)
    assert f"{tmp_path}/preset/VoP-seed0" in caught.value.hint
    make_run(tmp_path / "P-seed0", 9)
    make_run(tmp_path / "F-seed0", 7)
    assert newest_run(tmp_path) == str(tmp_path / "P-seed0")


def test_a_result_survives_its_json(folder: Path) -> None:
    [result] = evaluate(EvaluateRequest(load_config(), ["zero-shot"]), SilentProgress())
    text = json.dumps(result.to_json())
    again = EvalResult.from_json(json.loads(text), source=folder / "a.json")
    assert json.dumps(again.to_json()) == text
    assert (result.num_trained, result.selected, result.seed, result.split) == (0, None, None, "test")
    # three films of the split test with two captions each
    assert (len(result.answers), result.metrics.v2t.num_queries, result.num_frames) == (6, 3, 3)
    ranked_first = [answer.first == answer.video for answer in result.answers]
    assert [rank == 1 for rank in result.metrics.t2v.ranks] == ranked_first


def test_a_missing_target_is_refused_before_any_is_evaluated(folder: Path) -> None:
    request = EvaluateRequest(load_config(), ["zero-shot", "runs/none"])
    with pytest.raises(DataError, match="runs/none does not exist"):
        evaluate(request, SilentProgress())
    (folder / "runs/none").mkdir(parents=True)
    (folder / "runs/none/config.yaml").touch()
    with pytest.raises(DataError, match="runs/none is an unfinished run"):
        evaluate(replace(request, targets=["runs/none"]), SilentProgress())


def test_sentences_find_the_whole_video(folder: Path) -> None:
    """Captions of ranges, which the store does not have: each finds its whole video."""
    path = folder / "captions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [{**line, "start": 0.1 * number, "end": 99.0} for number, line in enumerate(lines)]
    path.write_text("\n".join(map(json.dumps, lines)))
    config = load_config(assignments=["data.queries=sentences"])
    assert add_ranges(ExtractRequest([], folder / "out.h5", config.data), SilentProgress()).ranges == {}
    [result] = evaluate(EvaluateRequest(config, ["zero-shot"]), SilentProgress())
    assert [answer.caption for answer in result.answers] == [
        line["caption"] for line in lines if line["split"] == "test"
    ]
    assert (result.metrics.t2v.num_queries, result.metrics.t2v.gallery_size) == (6, 3)
    assert result.to_json()["queries"] == "sentences"
    with pytest.raises(DataError, match=r"6 of 6 videos and ranges of captions\.jsonl are not in"):
        evaluate(EvaluateRequest(load_config(), ["zero-shot"]), SilentProgress())


def test_published_results_are_not_of_sentences() -> None:
    for queries, dataset in ((QueryUnit.CAPTIONS, DatasetName.DIDEMO), (QueryUnit.SENTENCES, None)):
        assert comparable_dataset(DatasetName.DIDEMO, queries) is dataset
