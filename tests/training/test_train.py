"""A run from settings to a folder: its plan, its checks, and the adapter of the best epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vopcli.config.choices import Variant
from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.errors import DataError, UsageError
from vopcli.evaluation.runs import is_run, read_run
from vopcli.methods.adapter_file import read_adapter
from vopcli.progress import SilentProgress
from vopcli.training import train as workflow
from vopcli.training.train import TrainRequest, check_requests, plan, prepare, run


def settings(variant: Variant = Variant.VOP, **training: Any) -> Config:
    config = load_config()
    return replace(
        config,
        tuning=replace(config.tuning, variant=variant),
        training=replace(config.training, **training),
    )


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
    prepared = prepare(TrainRequest(settings(epochs=3, lr=0.01)), SilentProgress())
    summary = run(prepared, SilentProgress())
    assert (summary.selected.epoch, summary.selected.metrics) == (1, {"t2v R@1": 30.0})
    assert read_run(folder / "runs/VoP-seed0").selected == summary.selected
    for name, epoch in (("adapter.safetensors", 1), ("last.safetensors", 2)):
        table = read_adapter(folder / "runs/VoP-seed0" / name).tensors["text_prompts.table"]
        np.testing.assert_array_equal(table, kept[epoch])
    assert not np.array_equal(kept[1], kept[2])
    left = prepared.model.get_parameter("text_prompts.table").detach().numpy()
    np.testing.assert_array_equal(left, kept[1])


def test_a_plan_counts_steps_negatives_and_parameters(folder: Path) -> None:
    prepared = prepare(TrainRequest(settings(batch_size=4, epochs=3, val_share=0.3)), SilentProgress())
    found = plan(prepared)
    # 7 films of the split train with two captions each, of which 0.3 are held out
    assert (found.num_train_videos, found.num_train_captions, found.num_val_videos) == (5, 10, 2)
    assert (found.steps_per_epoch, found.num_steps, found.negatives_per_step) == (3, 9, 3)
    assert found.num_trained == sum(p.numel() for p in prepared.model.parameters() if p.requires_grad) > 0
    assert (found.folder, found.dataset, found.published) == ("runs/VoP-seed0", None, None)
    assert not (folder / "runs").exists()
    larger = replace(prepared.request, config=settings(batch_size=8))
    assert plan(replace(prepared, request=larger)).estimated_bytes > found.estimated_bytes


def test_zero_shot_takes_no_step_and_is_validated(folder: Path) -> None:
    prepared = prepare(TrainRequest(settings(Variant.ZERO_SHOT)), SilentProgress())
    summary = run(prepared, SilentProgress())
    assert (summary.plan.num_steps, summary.plan.num_trained, summary.selected.epoch) == (0, 0, 0)
    assert {"t2v R@1", "v2t MnR"} <= set(summary.selected.metrics)
    assert is_run(folder / "runs/zero-shot-seed0")


def test_requests_are_checked_before_any_run(folder: Path) -> None:
    good = TrainRequest(settings())
    check_requests([good], SilentProgress())
    with pytest.raises(UsageError, match="--resume and --overwrite contradict each other"):
        check_requests([good, replace(good, resume=True, overwrite=True)], SilentProgress())
    (folder / "runs/VoP-seed0").mkdir(parents=True)
    (folder / "runs/VoP-seed0/config.yaml").touch()
    with pytest.raises(DataError, match="VoP-seed0 holds a run already"):
        check_requests([TrainRequest(settings(seed=1)), good], SilentProgress())
    check_requests([replace(good, overwrite=True)], SilentProgress())
