"""Estimates for a dry run: the hours of videos, and the time to decode them, from a sample of the files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vopcli.errors import VideoError
from vopcli.resources import usable_cores
from vopcli.video.video import FrameSpec, read_windows, stated_duration
from vopcli.video.video_file import TimeWindow, VideoFile

Planned = Sequence[tuple[VideoFile, Sequence[tuple[TimeWindow, int]]]]  # windows, with their frames

_MOST_OPENED: Final = 64  # files whose duration is read
_MOST_SECONDS: Final = 3.0  # of decoding


@dataclass(frozen=True)
class Estimate:
    """Size of the work of a dry run.

    Attributes:
        num_files: videos to decode or encode.
        hours: of these videos; estimated if there are many.
        num_windows: windows of long videos, without the videos themselves.
        seconds: estimated duration; None: unknown.
        basis: origin of the estimate, in words.
    """

    num_files: int
    hours: float
    num_windows: int
    seconds: float | None
    basis: str

    def __str__(self) -> str:
        work = f"{self.num_files} files, {self.hours:.2f} hours of video, {self.num_windows} windows"
        took = "unknown time" if self.seconds is None else f"about {format_seconds(self.seconds)}"
        return f"{work}, {took} ({self.basis})"


def format_seconds(seconds: float) -> str:
    """Format a duration in the unit that suits it, such as "12 s", "12 min" or "1.2 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def estimate_work(videos: Planned, spec: FrameSpec, *, workers: int) -> Estimate:
    """Estimate the work of decoding videos, with their windows and numbers of frames; see `decoding_time`."""
    seconds, basis = decoding_time(videos, spec, workers=workers)
    num_windows = sum(len(windows) - 1 for _, windows in videos)
    hours = estimate_hours([video for video, _ in videos])
    return Estimate(len(videos), hours, num_windows, seconds, basis)


def estimate_hours(videos: Sequence[VideoFile]) -> float:
    """Return the hours of videos, by the durations that the containers of at most 64 of them state."""
    durations = []
    for at in _sample(len(videos))[:_MOST_OPENED]:
        with contextlib.suppress(VideoError):
            durations.append(stated_duration(videos[at].file) or 0.0)
    return sum(durations) / max(len(durations), 1) * len(videos) / 3600


def decoding_time(
    videos: Planned, spec: FrameSpec, *, workers: int, most_seconds: float = _MOST_SECONDS
) -> tuple[float | None, str]:
    """Estimate the time to decode videos: decode some of them, for at most a few seconds.

    Args:
        videos: the videos, with their windows and numbers of frames.
        spec: how frames are taken.
        workers: processes that will decode.
        most_seconds: to spend on decoding.

    Returns:
        Seconds, and their origin in words; None if no window was decoded in time.
    """
    total, num_done, num_files = sum(count for _, windows in videos for _, count in windows), 0, 0
    began = time.monotonic()

    def check_time() -> None:
        if time.monotonic() - began > most_seconds:
            raise TimeoutError

    with contextlib.suppress(TimeoutError):
        for at in _sample(len(videos)):
            video, windows = videos[at]
            check_time()
            num_files += 1
            with contextlib.suppress(VideoError):
                for sampled in read_windows(video.file, [one for one, _ in windows], spec, tick=check_time):
                    num_done += len(sampled.frames)
    seconds = (time.monotonic() - began) / min(max(workers, 1), usable_cores())
    if not num_done:
        return None, "no frame was decoded in a few seconds" if total else "nothing to decode"
    return seconds * total / num_done, f"estimated by decoding {num_done} frames of {num_files} files"


def _sample(count: int) -> list[int]:
    """Return all positions in a random order, the same each time."""
    return np.random.default_rng(0).permutation(count).tolist()
