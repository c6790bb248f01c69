"""Sources of a report: a run folder and a result of ``vop eval`` on the same run have the same settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import make_document, make_report, make_result
from vopcli.errors import DataError, UsageError
from vopcli.reports.groups import MeasuredRun, group_runs
from vopcli.reports.sources import check_same_captions, read_sources


def make_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "tuning: {variant: VoP, sides: text}\ntraining: {epochs: 3, seed: 2}\n"
    )
    summary = {
        "num_trained": 9,
        "num_frames": 12,
        "seed": 2,
        "found_ratio": 0.5,
        "sampling": "uniform:12",
        "data_sha256": "0" * 64,
        "selected": {"rule": "best", "on": "held out", "epoch": 1, "t2v R@1": 40.0, "v2t MnR": 3.0},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def read(path: Path, document: dict[str, Any]) -> MeasuredRun:
    path.write_text(json.dumps(document))
    [measured] = read_sources([path]).measured
    return measured


def test_a_run_has_the_settings_that_its_evaluation_has(tmp_path: Path) -> None:
    [run] = read_sources([make_run(tmp_path / "run")]).measured
    document = make_document("VoP", 9, [1.0, 3.0], tuning={"variant": "VoP", "sides": "text"}, seed=2)
    result = read(tmp_path / "a.json", {**document, "training": {"epochs": 3, "seed": 2}})
    assert run.settings == result.settings
    assert result.settings["sides"] == "text"
    assert not {"seed", "output", "compile"} & set(result.settings)
    assert (run.seed, run.is_evaluated, result.seed, result.is_evaluated) == (2, False, 2, True)
    assert run.metrics == {("t2v", "R@1"): 40.0, ("v2t", "MnR"): 3.0}
    assert run.on == "validation: held out, only 50.0 % of the videos"
    assert result.on == "test: 2 queries, 50 videos, ties average"
    assert result.metrics["t2v", "MnR"] == 2.0


def test_the_data_is_named_with_its_exceptions(tmp_path: Path) -> None:
    partial = make_report(3, without_file=["gone.mp4"])
    measured = read(tmp_path / "a.json", make_document("P", 9, [1.0], pooling="max", data=partial))
    assert measured.on.endswith(", ties average, frames pooled by max, only 75.0 % of the videos")


def test_test_sets_of_equal_size_are_kept_apart(tmp_path: Path) -> None:
    first, again = (make_document("zero-shot", 0, [1.0, 2.0], target=name) for name in ("a", "b"))
    other = make_document("zero-shot", 0, [2.0, 2.0])
    other["answers"][1]["caption"] = "of another test set"
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, document in zip(paths, (first, again, other), strict=True):
        path.write_text(json.dumps(document))
    assert [len(group.members) for group in group_runs(read_sources(paths).measured)] == [2, 1]
    [alone] = group_runs(read_sources(paths[:2]).measured)
    assert alone.first.on == "test: 2 queries, 50 videos, ties average"


def test_untrained_runs_on_other_data_are_kept_apart(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name) for name in ("a", "b")]
    for number, folder in enumerate(folders):
        (folder / "config.yaml").write_text("tuning: {variant: zero-shot}")
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps({**summary, "data_sha256": f"{number}" * 64}))
    assert [len(group.members) for group in group_runs(read_sources(folders).measured)] == [1, 1]


def test_another_size_than_published_is_a_mark(tmp_path: Path) -> None:
    size = "30 videos instead of 1,000"
    cut = read(tmp_path / "a.json", make_document("P", 9, [1.0], data=make_report(1, other_size=size)))
    assert cut.on == f"test, other size: 1 queries, 50 videos, ties average, not the published size: {size}"
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["data"] = {"train": make_report(1), "val": make_report(1, other_size=size)}
    (folder / "summary.json").write_text(json.dumps(summary))
    [run] = read_sources([folder]).measured
    assert run.on.startswith("validation, other size: held out, ")
    assert run.on.endswith(f"not the published size: val: {size}")


def test_zero_shot_has_no_settings_of_training(tmp_path: Path) -> None:
    measured = read(tmp_path / "a.json", make_document("zero-shot", 0, [1.0]))
    assert measured.settings == {"weights": "ViT-B/32", "num_frames": 12}


def test_a_folder_without_a_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a finished run: it has no summary\.json"):
        read_sources([tmp_path])


def test_results_side_by_side_have_the_same_captions() -> None:
    check_same_captions([make_result("P", 9, [1.0, 2.0]), make_result("F", 9, [2.0, 1.0])])
    with pytest.raises(UsageError, match="measured on different captions"):
        check_same_captions([make_result("P", 9, [1.0, 2.0]), make_result("F", 9, [2.0])])
    with pytest.raises(UsageError, match="run folders hold no ranks of single captions"):
        check_same_captions([])
