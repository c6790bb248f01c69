"""What a step does besides following the gradient: it clips, clamps, scales, recomputes, and is logged."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.training import job_of
from vopcli.config.choices import Variant
from vopcli.methods.model import trained_tensors
from vopcli.progress import SilentProgress
from vopcli.training.checkpoint import RunState
from vopcli.training.loop import TrainingJob, train

ONE_STEP = {"epochs": 1, "batch_size": 20}  # all samples at once


class Notes(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def gradient(job: TrainingJob) -> torch.Tensor:
    """All gradients of the last step, as the optimizer saw them."""
    train(job, RunState({}), SilentProgress())
    return torch.cat([item.grad.flatten() for item in job.model.parameters() if item.requires_grad])


def test_gradients_are_clipped(training_store: Path, tmp_path: Path) -> None:
    free = gradient(job_of(training_store, tmp_path / "free", clip_norm=1e6, **ONE_STEP))
    assert free.norm() > 0.02
    clipped = gradient(job_of(training_store, tmp_path / "clipped", clip_norm=0.01, **ONE_STEP))
    torch.testing.assert_close(clipped, free * (0.01 / free.norm()), rtol=1e-4, atol=1e-9)


def test_gradients_are_clipped_after_the_loss_scale_is_taken_out(
    training_store: Path, tmp_path: Path
) -> None:
    found = gradient(job_of(training_store, tmp_path, dtype=torch.float16, clip_norm=0.01, **ONE_STEP))
    assert found.norm() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("variant", "expected"), [(Variant.FULL, math.log(100.0)), (Variant.VOP, 5.0)])
def test_a_logit_scale_is_kept_below_100_where_it_is_trained(
    training_store: Path, tmp_path: Path, variant: Variant, expected: float
) -> None:
    job = job_of(training_store, tmp_path, variant, **ONE_STEP)
    with torch.no_grad():
        job.model.clip.logit_scale.fill_(5.0)
    train(job, RunState({}), SilentProgress())
    assert float(job.model.clip.logit_scale.detach()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", [Variant.P_F, Variant.C])
def test_low_precision_gives_the_gradient_of_float32(
    training_store: Path, tmp_path: Path, variant: Variant, dtype: torch.dtype
) -> None:
    exact = gradient(job_of(training_store, tmp_path / "exact", variant, clip_norm=1e6, **ONE_STEP))
    job = job_of(training_store, tmp_path / "low", variant, dtype, clip_norm=1e6, **ONE_STEP)
    seen = set()
    job.model.clip.visual.transformer.resblocks[1].mlp.register_forward_hook(
        lambda _module, _given, returned: seen.add(returned.dtype)
    )
    found = gradient(job)
    assert seen == {dtype}
    assert found.norm() == pytest.approx(float(exact.norm()), rel=0.05)  # a loss scale left in would show
    assert nn.functional.cosine_similarity(found, exact, dim=0) > 0.99
    assert all(tensor.dtype == torch.float32 for tensor in trained_tensors(job.model).values())


@pytest.mark.parametrize("num_passes", [1, 2], ids=["held", "recomputed"])
def test_recomputed_layers_give_the_same_gradient(
    training_store: Path, tmp_path: Path, num_passes: int
) -> None:
    expected = gradient(job_of(training_store, tmp_path / "held", **ONE_STEP))
    job = job_of(training_store, tmp_path / "job", **ONE_STEP)
    passes: Counter[nn.Module] = Counter()
    wanted = {}
    for tower, num_parts in ((job.model.clip.transformer, 1), (job.model.clip.visual.transformer, 5)):
        tower.recomputes = num_passes == 2
        for block in tower.resblocks:
            block.register_forward_pre_hook(lambda block, _: passes.update([block]))
            wanted[block] = num_passes * num_parts  # a CPU encodes the 20 videos in parts of 4
    assert torch.equal(gradient(job), expected)
    assert passes == wanted


def test_every_epoch_says_its_loss(training_store: Path, tmp_path: Path) -> None:
    said = Notes()
    train(job_of(training_store, tmp_path, epochs=2), RunState({}), said)
    starts = [line.partition(":")[0] for line in said.notes]
    assert starts == ["epoch 1, step 4/8"] * 2 + ["epoch 2, step 8/8"] * 2
    for line in said.notes[::2]:
        assert all(name in line for name in ("loss ", "lr ", "videos_per_second ", "waiting_share "))
    assert all("t2v R@1 50" in line for line in said.notes[1::2])


def test_the_time_of_all_sessions_counts(training_store: Path, tmp_path: Path) -> None:
    state = train(job_of(training_store, tmp_path, epochs=1), RunState({}, seconds=1000.0), SilentProgress())
    assert 1000.0 < state.seconds < 1060.0
