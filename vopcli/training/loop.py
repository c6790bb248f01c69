"""The training loop, shared by all variants (VoP, section 4.1).

Axes: B videos of a batch, F frames, S side of a frame in pixels, L tokens.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vopcli.clip.vision import normalise
from vopcli.config.schema import TrainingConfig
from vopcli.datasets.records import format_names
from vopcli.errors import DivergedError, OutOfMemoryError, is_out_of_memory
from vopcli.frames.prefetch import Prefetched
from vopcli.methods.model import VideoTextModel, trained_tensors
from vopcli.progress import Progress, interrupts_deferred
from vopcli.training.augment import augment, skip_draws
from vopcli.training.batches import Batch, Samples, epoch_candidates, epoch_order, read_batches
from vopcli.training.checkpoint import DamagedCheckpointError, RunState, save_checkpoint
from vopcli.training.losses import backward_in_parts
from vopcli.training.optim import build_optimizer, build_schedule
from vopcli.training.processes import ALONE, LostProcessError, Processes
from vopcli.training.run_log import RunLog

CHECKPOINT_NAME = "last.ckpt"
LOG_SECONDS = 5.0
COMPILED_TEXT_MULTIPLE = 16  # tokens; with `compile`, so that the text tower is compiled for few lengths
_STOP = "stop"  # sent by the first process to the others
MAX_LOGIT_SCALE = math.log(100.0)  # CLIP, section 2.5: a trained scale is kept below 100


@dataclass(frozen=True)
class TrainingJob:
    """Inputs of the training loop.

    Attributes:
        model: on its device; trained parameters are float32.
        samples: captioned training videos.
        config: settings of the run; ``lr`` is set.
        dtype: of the matrix products in the towers.
        folder: the run folder.
        validate: returns metrics on the validation set; "t2v R@1" selects the best epoch.
        checkpoint_seconds: time between checkpoints within an epoch.
        processes: the processes that train together; the first one writes into the folder.
    """

    model: VideoTextModel
    samples: Samples
    config: TrainingConfig
    dtype: torch.dtype
    folder: Path
    validate: Callable[[], dict[str, float]]
    checkpoint_seconds: float = 300.0
    processes: Processes = ALONE

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.samples) / self.config.batch_size)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device


@dataclass
class Window:
    """Sums over the steps since the last entry of the log."""

    began: float = field(default_factory=time.perf_counter)
    steps: int = 0
    videos: int = 0
    loss: float = 0.0
    waited_seconds: float = 0.0

    def values(self, lr: float) -> dict[str, float]:
        """Return the mean loss, videos per second, and fraction of the time spent on waiting for batches."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        return {
            "loss": self.loss / max(self.steps, 1),
            "lr": lr,
            "videos_per_second": self.videos / seconds,
            "waiting_share": self.waited_seconds / seconds,
        }


def train(job: TrainingJob, state: RunState, progress: Progress) -> RunState:
    """Train from ``state`` to the last epoch, and keep the best epoch by t2v R@1 on the validation set.

    Raises:
        DivergedError: the loss or its gradient is not finite.
        DataError: ``state`` is of another run.
        OutOfMemoryError: a batch does not fit into the memory of the device.
        FileError: the run folder cannot be written.
        BusyError: another process trains in the run folder.
        KeyboardInterrupt: the run was interrupted, and a checkpoint was written.
        LostProcessError: another process of the run ended, and a checkpoint was written.
    """
    loop = _Loop(job, state, progress)
    total = job.config.epochs * job.steps_per_epoch
    with (
        _open_log(job, state) as log,
        progress.task("train", total=total - state.step, unit="steps") as task,
    ):
        try:
            for epoch in range(state.epochs, job.config.epochs):
                for values in loop.epoch(epoch, log):
                    if values:
                        progress.note(_line(epoch, state.step, total, values))
                    task.advance()
                loop.finish_epoch(epoch, log)
        except (KeyboardInterrupt, LostProcessError) as error:  # before a step changes the model
            with interrupts_deferred():
                loop.save(log)
                if isinstance(error, KeyboardInterrupt) and job.processes.is_first:
                    with contextlib.suppress(LostProcessError):
                        job.processes.share(_STOP)
            raise
    return state


def _open_log(job: TrainingJob, state: RunState) -> contextlib.AbstractContextManager[RunLog | None]:
    if not job.processes.is_first:
        return contextlib.nullcontext()
    return RunLog(job.folder, step=state.step, keep_bytes=state.log_bytes)


class _Loop:
    def __init__(self, job: TrainingJob, state: RunState, progress: Progress) -> None:
        self.job, self.state, self.progress = job, state, progress
        config = job.config
        self.num_held = config.micro_batch or config.batch_size  # micro-batch size
        total = config.epochs * job.steps_per_epoch
        self.optimizer = build_optimizer(job.model, config, config.lr or 0.0)
        self.schedule = build_schedule(self.optimizer, config, num_steps=total)
        self.scaler = torch.amp.GradScaler(job.device.type, enabled=job.dtype == torch.float16)
        if state.optimizer:
            try:
                self.optimizer.load_state_dict(state.optimizer)
                self.scaler.load_state_dict(state.scaler)
            except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                raise DamagedCheckpointError(job.folder / CHECKPOINT_NAME) from error
        self.trained = [item for item in job.model.parameters() if item.requires_grad]
        self.saved = time.perf_counter()
        self.began = self.saved - state.seconds
        self.encode_text, self.encode_video = job.model.encode_text, job.model.encode_video
        if config.compile:
            self.encode_text = torch.compile(self.encode_text)
            self.encode_video = torch.compile(self.encode_video)

    def epoch(self, epoch: int, log: RunLog | None) -> Iterator[dict[str, float]]:
        """Run the remaining steps of an epoch; yield the values that each step logged, mostly none."""
        job, config = self.job, self.job.config
        order = epoch_order(len(job.samples), seed=config.seed, epoch=epoch)
        done = self.state.step - epoch * job.steps_per_epoch
        order = order[done * config.batch_size :]
        job.model.train()
        window = Window()
        pin = job.device.type == "cuda"
        drawn = epoch_candidates(job.samples, seed=config.seed, epoch=epoch)
        batches = read_batches(
            job.samples,
            order,
            candidates=drawn,
            batch_size=config.batch_size,
            pin=pin,
            processes=job.processes,
            text_multiple=COMPILED_TEXT_MULTIPLE if config.compile else 1,
        )
        with Prefetched(batches) as reader:
            for batch in reader:
                with interrupts_deferred():
                    self._check_stop()
                    window.loss += self.step(batch)
                window.steps += 1
                window.videos += batch.count
                window.waited_seconds += reader.waited_seconds
                reader.waited_seconds = 0.0
                values: dict[str, float] = {}
                is_last = self.state.step == (epoch + 1) * job.steps_per_epoch
                if is_last or time.perf_counter() - window.began >= LOG_SECONDS:
                    values, window = window.values(self.optimizer.param_groups[0]["lr"]), Window()
                    if log:
                        log.write(self.state.step, "train", {"epoch": epoch, **values})
                if time.perf_counter() - self.saved >= job.checkpoint_seconds:
                    self.save(log)
                yield values

    def _check_stop(self) -> None:
        """Stop if the first process was interrupted.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.job.processes.share(None) == _STOP:
            raise KeyboardInterrupt

    def step(self, batch: Batch) -> float:
        """Take one optimizer step and return the loss.

        Raises:
            DivergedError: the loss or its gradient is not finite.
            OutOfMemoryError: the batch does not fit into the memory of the device.
        """
        self.schedule.step_update(self.state.step)
        loss = self._backward(batch)
        while loss is None:
            loss = self._backward(batch)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.job.config.clip_norm)
        value = float(loss)
        if not math.isfinite(value) or not (self.scaler.is_enabled() or math.isfinite(float(norm))):
            raise DivergedError(
                f"the loss of step {self.state.step} is not finite, in the batch {format_names(batch.names)}",
                hint="lower the learning rate with --lr, or use --precision fp32",
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        logit_scale = self.job.model.clip.logit_scale
        if logit_scale.requires_grad:
            with torch.no_grad():
                logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        self.state.step += 1
        return value

    def _backward(self, batch: Batch) -> Tensor | None:
        """Compute the loss and its gradients; None if out of memory, after halving the micro-batch size.

        Raises:
            OutOfMemoryError: out of memory, and `auto_batch` is off or the micro-batch is a single video.
            RuntimeError: torch failed for another reason.
        """
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = backward_in_parts(
                self._parts(batch),
                self.job.model.clip.logit_scale,
                scale_loss=self.scaler.scale,
                processes=self.job.processes,
                count=batch.count,
            )
            self.job.processes.sum_gradients(self.trained)
            return loss
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            problem = f"{self.num_held} videos at a time do not fit the memory of {self.job.device}"
            half = max(1, min(self.num_held, len(batch.names)) // 2)
            if not self.job.config.auto_batch or self.num_held == 1:
                raise OutOfMemoryError(
                    problem,
                    hint=f"--micro-batch {half} or --auto-batch keeps the same negatives; "
                    "--checkpointing needs less memory",
                ) from error
        self.progress.warn(f"{problem}: continuing with {half}")
        self.num_held = half
        if self.job.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _parts(self, batch: Batch) -> list[Callable[[], tuple[Tensor, Tensor]]]:
        """Return a function for each micro-batch, which computes its text and video embeddings."""
        job = self.job
        size = self.num_held
        generator = torch.Generator().manual_seed(job.config.seed * 1_000_003 + self.state.step)
        if job.config.augment:
            skip_draws(generator, batch.first)
        parts: list[Callable[[], tuple[Tensor, Tensor]]] = []
        for start in range(0, len(batch.names), size):
            frames = batch.frames[start : start + size].to(job.device, non_blocking=True)
            tokens = batch.tokens[start : start + size].to(job.device, non_blocking=True)
            pixels = normalise(frames, job.model.clip.shape.preprocessing, dtype=job.dtype)  # (B, F, 3, S, S)
            pixels = augment(pixels, generator) if job.config.augment else pixels

            def embed(pixels: Tensor = pixels, tokens: Tensor = tokens) -> tuple[Tensor, Tensor]:
                with self._autocast():
                    return self.encode_text(tokens), self.encode_video(pixels)

            parts.append(embed)
        return parts

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.job.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.job.device.type, dtype=self.job.dtype)

    def finish_epoch(self, epoch: int, log: RunLog | None) -> None:
        """Validate the model, keep its tensors if it is the best so far, and write a checkpoint."""
        self.job.model.eval()
        # several processes validate together, and none of them may leave the others waiting: not within
        # the validation, and not before it, since the last step of the epoch
        with interrupts_deferred() if self.job.processes.size > 1 else contextlib.nullcontext():
            self._check_stop()
            values = self.job.validate()
        total = self.job.config.epochs * self.job.steps_per_epoch
        with interrupts_deferred():
            if log:
                log.write(self.state.step, "val", {"epoch": epoch, **values})
            self.progress.note(_line(epoch, self.state.step, total, values))
            if not self.state.best or values["t2v R@1"] > self.state.best["t2v R@1"]:
                self.state.best = {"epoch": epoch, **values}
                self.state.best_tensors = trained_tensors(self.job.model)
            self.state.epochs = epoch + 1
            self.save(log)

    def save(self, log: RunLog | None) -> None:
        """Write the checkpoint, in the process that writes the log."""
        if log is None:
            return
        self.state.optimizer, self.state.scaler = self.optimizer.state_dict(), self.scaler.state_dict()
        self.state.log_bytes = log.num_bytes
        self.state.seconds = time.perf_counter() - self.began
        save_checkpoint(self.job.folder / CHECKPOINT_NAME, self.state, self.job.model)
        self.saved = time.perf_counter()


def _line(epoch: int, step: int, total: int, values: dict[str, float]) -> str:
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return f"epoch {epoch + 1}, step {step}/{total}: {numbers}"
