"""A run before its first step: its plan, and the checks of several runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.training import run_settings
from vopcli.errors import DataError, UsageError
from vopcli.progress import SilentProgress
from vopcli.training.prepare import TrainRequest, check_requests, plan, prepare
from vopcli.training.processes import Processes


def test_a_plan_counts_steps_negatives_and_parameters(folder: Path) -> None:
    prepared = prepare(TrainRequest(run_settings(batch_size=4, epochs=3, val_share=0.3)), SilentProgress())
    found = plan(prepared)
    # 7 films of the split train with two captions each, of which 0.3 are held out
    assert (found.num_train_videos, found.num_train_captions, found.num_val_videos) == (5, 10, 2)
    assert (found.steps_per_epoch, found.num_steps, found.negatives_per_step) == (3, 9, 3)
    assert found.num_trained == sum(p.numel() for p in prepared.model.parameters() if p.requires_grad) > 0
    assert (found.folder, found.dataset, found.published) == ("runs/VoP-seed0", None, None)
    assert not (folder / "runs").exists()
    larger = replace(prepared.request, config=run_settings(batch_size=8))
    assert plan(replace(prepared, request=larger)).estimated_bytes > found.estimated_bytes


def test_requests_are_checked_before_any_run(folder: Path) -> None:
    good = TrainRequest(run_settings())
    check_requests([good], SilentProgress())
    with pytest.raises(UsageError, match="--resume and --overwrite exclude each other"):
        check_requests([good, replace(good, resume=True, overwrite=True)], SilentProgress())
    (folder / "runs/VoP-seed0").mkdir(parents=True)
    (folder / "runs/VoP-seed0/config.yaml").touch()
    with pytest.raises(DataError, match="VoP-seed0 holds a run already"):
        check_requests([TrainRequest(run_settings(seed=1)), good], SilentProgress())
    check_requests([replace(good, overwrite=True)], SilentProgress())


def test_a_plan_of_several_processes_divides_the_batch(folder: Path) -> None:
    prepared = prepare(TrainRequest(run_settings(batch_size=5)), SilentProgress())
    alone, divided = plan(prepared), plan(replace(prepared, processes=Processes(0, 2)))
    assert (alone.num_processes, alone.videos_per_process) == (1, 5)
    assert (divided.num_processes, divided.videos_per_process) == (2, 3)
    assert divided.negatives_per_step == alone.negatives_per_step
    assert divided.estimated_bytes < alone.estimated_bytes
