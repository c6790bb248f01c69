"""A run from settings to a folder: the adapter of the best epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.training import run_settings
from vopcli.config.choices import Variant
from vopcli.evaluation.runs import is_run, read_run
from vopcli.methods.adapter_file import read_adapter
from vopcli.progress import SilentProgress
from vopcli.training import train as workflow
from vopcli.training.prepare import TrainRequest, prepare
from vopcli.training.train import run


def test_the_adapter_and_the_model_are_those_of_the_best_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, kept = iter([10.0, 30.0, 20.0]), []
    original = workflow.embed

    def embed(model: Any, *arguments: Any, **options: Any) -> Any:
        kept.append(model.get_parameter("text_prompts.table").detach().clone().numpy())
        return original(model, *arguments, **options)

    def measure(*_: Any) -> Any:
        return SimpleNamespace(by_direction={"t2v": SimpleNamespace(by_name={"R@1": next(scores)})})

    monkeypatch.setattr(workflow, "embed", embed)
    monkeypatch.setattr(workflow, "measure", measure)
    prepared = prepare(TrainRequest(run_settings(epochs=3, lr=0.01)), SilentProgress())
    summary = run(prepared, SilentProgress())
    assert (summary.selected.epoch, summary.selected.metrics) == (1, {"t2v R@1": 30.0})
    assert read_run(folder / "runs/VoP-seed0").selected == summary.selected
    for name, epoch in (("adapter.safetensors", 1), ("last.safetensors", 2)):
        table = read_adapter(folder / "runs/VoP-seed0" / name).tensors["text_prompts.table"]
        np.testing.assert_array_equal(table, kept[epoch])
    assert not np.array_equal(kept[1], kept[2])
    left = prepared.model.get_parameter("text_prompts.table").detach().numpy()
    np.testing.assert_array_equal(left, kept[1])


def test_zero_shot_takes_no_step_and_is_validated(folder: Path) -> None:
    prepared = prepare(TrainRequest(run_settings(Variant.ZERO_SHOT)), SilentProgress())
    summary = run(prepared, SilentProgress())
    assert (summary.plan.num_steps, summary.plan.num_trained, summary.selected.epoch) == (0, 0, 0)
    assert {"t2v R@1", "v2t MnR"} <= set(summary.selected.metrics)
    assert is_run(folder / "runs/zero-shot-seed0")
