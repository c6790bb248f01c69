"""Presentation times of a video's frames, and the selection of frames by a sampling."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from vopcli.video.sampling import (
    MAX_FPS_FRAMES,
    Sampling,
    clip4clip_indices,
    fps_indices,
    uniform_indices,
    xpool_indices,
)
from vopcli.video.video_file import WHOLE, TimeWindow


@dataclass(frozen=True)
class Timeline:
    """Presentation times of a video's frames.

    Attributes:
        ticks: time of each frame, increasing.
        unit: seconds per tick.
        rate: average frames per second according to the container.
    """

    ticks: Sequence[int]
    unit: Fraction
    rate: Fraction

    def seconds(self, index: int) -> Fraction:
        """Return the presentation time of a frame; the first frame is at 0."""
        return (self.ticks[index] - self.ticks[0]) * self.unit

    def within(self, window: TimeWindow) -> range:
        """Return the indices of the frames presented in a window."""
        places = range(len(self.ticks))
        if window == WHOLE:
            return places
        # 0.1 as a float is not 1/10: times are compared after rounding to float.
        start, end = (
            bisect_left(places, time, key=lambda place: float(self.seconds(place)))
            for time in (window.start_seconds, window.end_seconds)
        )
        return places[start:end]

    def shown_at(self, seconds: float) -> int:
        """Return the index of the frame on the screen at a time; the last one after the end."""
        places = range(len(self.ticks))
        return max(bisect_right(places, seconds, key=lambda place: float(self.seconds(place))) - 1, 0)

    def choose(self, sampling: Sampling, window: TimeWindow) -> list[int]:
        """Return the indices of the frames that a sampling selects within a window.

        The indices are non-decreasing, candidates of a short segment repeat; empty if the window is empty.
        """
        num_frames = sampling.num_frames
        if sampling.rule == "clip4clip" and num_frames is not None:
            return clip4clip_indices(
                num_frames, len(self.ticks), self.rate, kept=sampling.kept, window=window
            )
        seen = self.within(window)
        if sampling.fps is not None:
            seconds = [self.seconds(place) - self.seconds(seen[0]) for place in seen]
            chosen = fps_indices(seconds, sampling.fps, num_frames or MAX_FPS_FRAMES)
        else:
            indices = xpool_indices if sampling.rule == "xpool" else uniform_indices
            chosen = indices(num_frames or len(seen), len(seen), sampling.candidates)
        return [seen[index] for index in chosen]
