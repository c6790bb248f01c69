"""The summary of a run: its JSON, and that it can be read again."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vopcli.datasets.records import SplitReport
from vopcli.evaluation.runs import Selection, TrainedOn, read_run
from vopcli.training.summary import TrainPlan, TrainSummary

PLAN = TrainPlan(
    variant="P",
    folder="runs/P-seed4",
    num_train_videos=5,
    num_train_captions=10,
    num_val_videos=2,
    val_source="held out",
    steps_per_epoch=3,
    num_steps=9,
    negatives_per_step=3,
    num_trained=128,
    lr=0.01,
    device="cpu",
    precision="fp32",
    estimated_bytes=1000,
    dataset=None,
    found_ratio=0.5,
    published=None,
)
SUMMARY = TrainSummary(
    plan=PLAN,
    seed=4,
    selected=Selection("the best", "held out", 1, {"t2v R@1": 50.0}),
    seconds=2.5,
    num_frames=3,
    sampling="uniform:3",
    num_cut_captions=1,
    weights="tiny",
    fingerprint="f" * 64,
    data=[SplitReport("train", 7, 7, 7, 7, 14)],
    data_sha256="0" * 64,
)


def test_the_plan_comes_first_and_the_versions_last() -> None:
    document = SUMMARY.to_json()
    assert list(document)[:2] == ["variant", "folder"]
    assert list(document)[len(vars(PLAN)) :] == [
        *("seed", "selected", "seconds", "num_frames", "sampling", "num_cut_captions"),
        *("backbone", "data", "data_sha256", "versions"),
    ]
    assert document["selected"] == {"rule": "the best", "on": "held out", "epoch": 1, "t2v R@1": 50.0}
    assert document["backbone"] == {"weights": "tiny", "fingerprint": "f" * 64}
    assert document["data"]["train"]["captions"] == 14
    assert torch.__version__.startswith(document["versions"]["torch"])


def test_a_run_folder_is_read_as_it_was_summarised(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("tuning: {variant: P}\n")
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY.to_json()))
    run = read_run(tmp_path)
    assert (run.seed, run.num_trained, run.num_frames, run.found_ratio) == (4, 128, 3, 0.5)
    assert (run.selected, run.trained_on) == (SUMMARY.selected, TrainedOn("uniform:3", None, "0" * 64))
