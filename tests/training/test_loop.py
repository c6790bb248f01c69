"""The loop: it learns, goes on after a kill to the same bits, and stops at a loss that is not finite."""

import dataclasses
import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.progress import Interrupting
from tests.support.training import job_of, model_of
from vopcli.clip.shape import PIXEL_STD, Preprocessing
from vopcli.config.choices import Variant
from vopcli.errors import DataError, FileError
from vopcli.evaluation.runs import LOG_NAME
from vopcli.methods.model import trained_tensors
from vopcli.progress import SilentProgress
from vopcli.training.checkpoint import RunState, load_checkpoint
from vopcli.training.loop import TrainingJob, train


class Killed(BaseException):
    """Stands for the signal that ends a run."""


def log_of(folder: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("variant", [one for one in Variant if one is not Variant.ZERO_SHOT])
def test_every_variant_learns(training_store: Path, tmp_path: Path, variant: Variant) -> None:
    job = job_of(training_store, tmp_path / "run", variant, epochs=5, lr=1e-2)
    frozen = {name: item.clone() for name, item in job.model.named_parameters() if not item.requires_grad}
    train(job, RunState({}), SilentProgress())
    losses = [line["loss"] for line in log_of(tmp_path / "run", "train")]
    assert losses[-1] < losses[0]
    for name, parameter in job.model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])


def test_parts_of_a_batch_learn_what_the_whole_does(training_store: Path, tmp_path: Path) -> None:
    whole = job_of(training_store, tmp_path / "whole", epochs=1)
    parts = job_of(training_store, tmp_path / "parts", epochs=1, micro_batch=2)
    for job in (whole, parts):
        train(job, RunState({}), SilentProgress())
    for name, tensor in trained_tensors(whole.model).items():
        torch.testing.assert_close(trained_tensors(parts.model)[name], tensor, rtol=0, atol=2e-4)


def test_pixels_are_normalised_as_the_model_takes_them(training_store: Path, tmp_path: Path) -> None:
    """Twice the standard deviation of the pixels and twice the weights that read them cancel out."""
    usual, other = (job_of(training_store, tmp_path / name, epochs=1) for name in ("usual", "other"))
    clip = other.model.clip
    clip.shape = dataclasses.replace(
        clip.shape, preprocessing=Preprocessing(std=tuple(2 * np.array(PIXEL_STD)))
    )
    clip.visual.conv1.weight.data *= 2
    for job in (usual, other):
        train(job, RunState({}), SilentProgress())
    for name, tensor in trained_tensors(usual.model).items():
        torch.testing.assert_close(trained_tensors(other.model)[name], tensor, rtol=0, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"augment": True, "micro_batch": 4}])
@pytest.mark.parametrize("stop_after", [2, 4, 7])
def test_a_killed_run_ends_with_the_same_bits(
    training_store: Path,
    tmp_path: Path,
    changes: dict[str, object],
    stop_after: int,
) -> None:
    settings = {"variant": "P+F"}
    straight = job_of(training_store, tmp_path / "straight", **changes)
    done = train(straight, RunState(settings), SilentProgress())

    killed = job_of(training_store, tmp_path / "killed", **changes)
    killed = dataclasses.replace(killed, checkpoint_seconds=0.0)  # a checkpoint after each step

    with pytest.raises(Killed):
        train(killed, RunState(settings), Interrupting(stop_after, Killed))
    resumed = job_of(training_store, tmp_path / "killed", **changes)
    state = load_checkpoint(tmp_path / "killed" / "last.ckpt", settings, resumed.model)
    assert state.step == stop_after
    ended = train(resumed, state, SilentProgress())
    assert ended.step == done.step == 12
    for name, tensor in trained_tensors(straight.model).items():
        assert torch.equal(trained_tensors(resumed.model)[name], tensor), name
    assert [line["step"] for line in log_of(tmp_path / "killed", "val")] == [4, 8, 12]


def press_ctrl_c(job: TrainingJob, *, step: int) -> None:
    """Have Ctrl-C pressed in the midst of a step, counted from 1."""
    steps = itertools.count(1)

    def press(*_: object) -> None:
        if next(steps) == step:
            signal.raise_signal(signal.SIGINT)

    job.model.clip.token_embedding.register_forward_pre_hook(press)


@pytest.mark.parametrize("step", [1, 3, 6])
def test_an_interrupted_run_keeps_every_step(training_store: Path, tmp_path: Path, step: int) -> None:
    straight = job_of(training_store, tmp_path / "straight")
    train(straight, RunState({}), SilentProgress())
    stopped = job_of(training_store, tmp_path / "stopped")
    press_ctrl_c(stopped, step=step)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, RunState({}), SilentProgress())
    resumed = job_of(training_store, tmp_path / "stopped")
    state = load_checkpoint(tmp_path / "stopped" / "last.ckpt", {}, resumed.model)
    assert state.step == step  # the one in which it was pressed was finished
    train(resumed, state, SilentProgress())
    for name, tensor in trained_tensors(straight.model).items():
        assert torch.equal(trained_tensors(resumed.model)[name], tensor), name
    assert [line["step"] for line in log_of(tmp_path / "stopped", "val")] == [4, 8, 12]


def test_a_log_that_cannot_be_written_is_named(training_store: Path, tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).mkdir()
    with pytest.raises(FileError, match=rf"{LOG_NAME} is a folder"):
        train(job_of(training_store, tmp_path), RunState({}), SilentProgress())


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_killed_run_draws_the_same_candidates(
    candidates_store: Path,
    training_store: Path,
    tmp_path: Path,
    stop_after: int,
) -> None:
    straight = job_of(candidates_store, tmp_path / "straight")
    train(straight, RunState({}), SilentProgress())
    killed = dataclasses.replace(job_of(candidates_store, tmp_path / "killed"), checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        train(killed, RunState({}), Interrupting(stop_after, Killed))
    resumed = job_of(candidates_store, tmp_path / "killed")
    train(resumed, load_checkpoint(tmp_path / "killed" / "last.ckpt", {}, resumed.model), SilentProgress())
    middles = job_of(training_store, tmp_path / "middles")
    train(middles, RunState({}), SilentProgress())
    for name, tensor in trained_tensors(straight.model).items():
        assert torch.equal(trained_tensors(resumed.model)[name], tensor), name
    assert any(
        not torch.equal(trained_tensors(middles.model)[name], tensor)
        for name, tensor in trained_tensors(straight.model).items()
    )


def test_a_loss_that_is_not_finite_names_the_batch(training_store: Path, tmp_path: Path) -> None:
    job = job_of(training_store, tmp_path / "run")
    with torch.no_grad():
        job.model.get_parameter("text_prompts.table").fill_(math.nan)
    with pytest.raises(DataError, match=r"loss of step 0 is not finite, in the batch .*\.mp4") as caught:
        train(job, RunState({}), SilentProgress())
    assert "lower the learning rate" in caught.value.hint


@pytest.mark.parametrize("last_score", [20.0, 30.0])  # of equals the first
def test_the_best_epoch_is_kept(training_store: Path, tmp_path: Path, last_score: float) -> None:
    scores = iter([10.0, 30.0, last_score])
    job = job_of(training_store, tmp_path / "run")
    job = dataclasses.replace(job, validate=lambda: {"t2v R@1": next(scores)})
    state = train(job, RunState({}), SilentProgress())
    assert state.best["epoch"] == 1
    last = trained_tensors(job.model)
    assert any(not torch.equal(tensor, last[name]) for name, tensor in state.best_tensors.items())


def test_the_log_says_how_long_the_loop_waited(training_store: Path, tmp_path: Path) -> None:
    train(job_of(training_store, tmp_path / "run"), RunState({}), SilentProgress())
    (line, *_) = log_of(tmp_path / "run", "train")
    assert 0 <= line["waiting_share"] <= 1
    assert line["videos_per_second"] > 0
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


# Memory really gives out here: the process may have 2700 MiB more than it has, and each image takes 256 MiB.
WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from tests.support.training import job_of
from vopcli.cli import console
from vopcli.errors import VopError
from vopcli.training.checkpoint import RunState
from vopcli.training.loop import train

def take_memory(_, given):
    torch.empty(len(given[0]) << 26)

torch.set_num_threads(1)
store, folder = map(Path, sys.argv[1:])
free, fixed, halving = (
    job_of(store, folder / name, epochs=1, auto_batch=name == "auto") for name in ("free", "fixed", "auto")
)
train(free, RunState({}), console.progress(quiet=True))  # loads what training loads
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (2700 << 20),) * 2)
for job in fixed, halving:
    job.model.clip.visual.register_forward_pre_hook(take_memory)
    try:
        train(job, RunState({}), console.progress(quiet=True))
    except VopError as error:
        print(error, error.hint, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc"
)
def test_where_memory_gives_out_half_the_videos_are_tried_if_asked_for(
    training_store: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", WITH_LITTLE_MEMORY, str(training_store), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    problem, hint = done.stdout.splitlines()
    assert problem == "6 videos at a time do not fit the memory of cpu"
    assert (
        hint == "--micro-batch 3 or --auto-batch keeps the same negatives; --checkpointing needs less memory"
    )
    assert done.stderr.splitlines() == [f"Warning: {problem}: continuing with 3"]
    job = job_of(training_store, tmp_path / "parts", epochs=1, micro_batch=3)
    train(job, RunState({}), SilentProgress())
    halved = model_of(Variant.P_F)
    load_checkpoint(tmp_path / "auto" / "last.ckpt", {}, halved)
    for name, tensor in trained_tensors(job.model).items():
        torch.testing.assert_close(trained_tensors(halved)[name], tensor, rtol=0, atol=1e-6)
