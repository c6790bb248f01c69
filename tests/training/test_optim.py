"""The schedule against published values and its formula, and what is decayed."""

import math

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.support.training import job_of, model_of
from vopcli.config.choices import Variant
from vopcli.config.schema import TrainingConfig
from vopcli.progress import SilentProgress
from vopcli.training.checkpoint import RunState
from vopcli.training.loop import train
from vopcli.training.optim import build_optimizer, build_schedule


def rate(step: int, *, num_steps: int, warmup: float = 0.1) -> float:
    config = TrainingConfig(warmup=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    build_schedule(optimizer, config, num_steps=num_steps).step_update(step)
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (1, 0.000356), (14_062, 0.586838), (28_125, 0.0)])
def test_the_rates_of_five_epochs_of_msrvtt_are_the_published_ones(step: int, expected: float) -> None:
    assert rate(step, num_steps=28_125) == pytest.approx(expected, abs=1e-6)


def test_a_rise_and_half_a_cosine() -> None:
    found = [rate(step, num_steps=50, warmup=0.2) for step in range(50)]
    rise = [step / 10 for step in range(10)]
    fall = [(1 + math.cos(math.pi * (step - 10) / 40)) / 2 for step in range(10, 50)]
    assert found == pytest.approx(rise + fall, abs=1e-9)
    assert rate(0, num_steps=10, warmup=0.0) == pytest.approx(1.0)


def test_vectors_and_scalars_are_not_decayed() -> None:
    model = model_of(Variant.FULL)
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.2), 1e-3)
    decays = {id(item): group["weight_decay"] for group in optimizer.param_groups for item in group["params"]}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.2 if parameter.ndim > 1 else 0.0), name
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-6


def test_the_loop_steps_through_the_schedule(training_store: object, tmp_path: object) -> None:
    job = job_of(training_store, tmp_path, Variant.VOP, epochs=2, warmup=0.25, lr=1.0e-2)  # type: ignore[arg-type]
    rates = []

    def note_rate(optimizer: torch.optim.Optimizer, *_: object) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(note_rate)
    train(job, RunState({}), SilentProgress())
    hook.remove()
    steps = 2 * job.steps_per_epoch
    assert rates == pytest.approx([1e-2 * rate(i, num_steps=steps, warmup=0.25) for i in range(steps)])
