"""Encode videos: reading or decoding, the model, and writing run concurrently.

Axes: F frames, S side of a frame in pixels, E joint width.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.encoding.request import EncodeSummary
from vopcli.encoding.sources import EncodePlan, EncodeSource, Job
from vopcli.encoding.thumbnails import make_thumbnails
from vopcli.frames.prefetch import Prefetched
from vopcli.index.writer import EncodedVideo, VideoWriter
from vopcli.methods.encoder import Model
from vopcli.methods.pooling import mean_embedding
from vopcli.progress import Progress, Task

_WRITES_AHEAD: Final = 8  # batches that wait to be written


def encode_videos(
    model: Model,
    writer: VideoWriter,
    source: EncodeSource,
    plan: EncodePlan,
    summary: EncodeSummary,
    progress: Progress,
    *,
    thumbnails: bool = False,
) -> None:
    """Encode the videos of a plan; completed videos are written even if encoding is interrupted."""
    began = time.monotonic()
    batches = _batches(source.jobs(plan), model.batch_size, model.num_frames, thumbnails=thumbnails)
    waiting: deque[EncodedVideo] = deque()

    def write() -> None:
        if encoded := [waiting.popleft() for _ in range(len(waiting))]:
            writer.add(encoded)

    try:
        unit = "windows" if any(video.is_part for video in plan.to_encode) else "videos"
        with (
            progress.task("encode", total=len(plan.to_encode), unit=unit) as task,
            ThreadPoolExecutor(1, "index writer") as executor,
            Prefetched(batches) as ready,
        ):
            tally = _Tally(plan, summary, task)
            writes: deque[Future[None]] = deque()
            for batch in ready:
                encoded = _encode_batch(model, batch, tally, summary)
                waiting.extend(encoded)
                writes.append(executor.submit(write))
                while writes and (writes[0].done() or len(writes) > _WRITES_AHEAD):
                    writes.popleft().result()
                tally.count(encoded, writer.older.videos)
            for written in writes:
                written.result()
    finally:
        write()  # videos that were not submitted because of Ctrl-C
    summary.seconds = time.monotonic() - began


class _Tally:
    """Counts videos and failures; a failure of one window ends its video.

    The row of a video follows those of its windows: windows that are missing by then have no frames.
    """

    def __init__(self, plan: EncodePlan, summary: EncodeSummary, task: Task) -> None:
        self._videos, self._summary, self._task = plan.to_encode, summary, task
        self._left = Counter(video.path for video in plan.to_encode)  # rows; without failed videos

    def fail(self, slot: int, reason: str) -> None:
        path = self._videos[slot].path
        if left := self._left.pop(path, 0):
            self._summary.failures.append((path, reason))
            self._task.fail(path, reason)
            self._task.advance(left - 1)

    def has_failed(self, slot: int) -> bool:
        return self._videos[slot].path not in self._left

    def count(self, encoded: Sequence[EncodedVideo], known: Collection[str]) -> None:
        for video in [self._videos[item.slot] for item in encoded]:
            if not video.is_part:
                self._summary.num_changed += video.path in known
                self._summary.num_new += video.path not in known
                self._task.advance(self._left[video.path])
            elif video.path in self._left:
                self._left[video.path] -= 1
                self._task.advance()


@dataclass(frozen=True)
class _Batch:
    """Videos, their frames (n, S, S, 3) one video after the other, their thumbnails, and failures.

    Repeated last frames are left out unless the model takes whole videos.
    """

    jobs: list[Job]
    frames: NDArray[np.uint8]
    thumbnails: list[NDArray[np.uint8] | None]
    failures: list[tuple[int, str]]


def _batches(
    jobs: Iterator[Job | tuple[int, str]], batch_size: int, num_frames: int | None, *, thumbnails: bool
) -> Generator[_Batch, None, None]:
    """Group videos until their frames fill a batch; runs on the reading thread."""
    held: list[Job] = []
    failures: list[tuple[int, str]] = []
    for job in jobs:
        if isinstance(job, Job) and num_frames not in {None, len(job.frames)}:
            failures.append((job.slot, f"it has {len(job.frames)} frames, the model takes {num_frames}"))
        elif isinstance(job, Job):
            held.append(job)
        else:
            failures.append(job)
        if sum(item.num_real for item in held) >= batch_size or (failures and not held):
            yield _join(held, failures, num_frames, thumbnails=thumbnails)
            held, failures = [], []
    if held or failures:
        yield _join(held, failures, num_frames, thumbnails=thumbnails)


def _join(
    jobs: list[Job], failures: list[tuple[int, str]], num_frames: int | None, *, thumbnails: bool
) -> _Batch:
    frames = [job.frames[: num_frames or job.num_real] for job in jobs]
    return _Batch(
        jobs,
        np.concatenate(frames) if frames else np.empty((0, 1, 1, 3), np.uint8),
        [make_thumbnails(job.frames, job.num_real) if thumbnails else None for job in jobs],
        failures,
    )


def _encode_batch(model: Model, batch: _Batch, tally: _Tally, summary: EncodeSummary) -> list[EncodedVideo]:
    for slot, reason in batch.failures:
        tally.fail(slot, reason)
    embedded = model.embed(batch.frames)  # (n, E)
    summary.num_frames += len(embedded)
    videos = []
    ends = np.cumsum([model.num_frames or job.num_real for job in batch.jobs], dtype=np.int64)
    parts = zip(batch.jobs, batch.thumbnails, np.split(embedded, ends[:-1]), strict=False)
    for job, thumbnails, real in parts:
        if not tally.has_failed(job.slot) and not np.isfinite(real).all():
            tally.fail(job.slot, "its embedding is not finite; try --precision fp32")
        if tally.has_failed(job.slot):
            continue
        # As in X-Pool and VoP, the mean of a short video includes the repeats of its last frame.
        repeats = np.repeat(real[-1:], len(job.frames) - len(real), axis=0)
        frames = np.concatenate([real, repeats])  # (F, E)
        videos.append(
            EncodedVideo(
                slot=job.slot,
                embedding=mean_embedding(frames),
                frames=frames.astype(np.float16),
                seconds=np.asarray(job.seconds, np.float64),
                num_real=job.num_real,
                duration_seconds=job.duration_seconds,
                sha256=job.sha256,
                thumbnails=thumbnails,
            )
        )
    return videos
