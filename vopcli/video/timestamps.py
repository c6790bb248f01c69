"""When the frames of a video are shown, and which of them a sampling takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from vopcli.video.sampling import (
    WHOLE,
    Sampling,
    TimeWindow,
    clip4clip_indices,
    fps_indices,
    uniform_indices,
    xpool_indices,
)


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video is shown.

    Attributes:
        ticks: of each frame, rising.
        unit: seconds that a tick lasts.
        rate: frames a second that the container says, on average.
    """

    ticks: Sequence[int]
    unit: Fraction
    rate: Fraction

    def seconds(self, index: int) -> Fraction:
        """Return when a frame is shown, the first at 0."""
        return (self.ticks[index] - self.ticks[0]) * self.unit

    def within(self, window: TimeWindow) -> range:
        """Return the indices of the frames shown in a window."""
        places = range(len(self.ticks))
        if window == WHOLE:
            return places
        # A time such as 0.1 means the frame shown at 1/10, so both are compared as the nearest float.
        start, end = (
            bisect_left(places, time, key=lambda place: float(self.seconds(place)))
            for time in (window.start_seconds, window.end_seconds)
        )
        return places[start:end]

    def choose(self, sampling: Sampling, window: TimeWindow) -> list[int]:
        """Return the indices of the frames that a sampling takes of those in the window.

        They never fall; candidates of a short segment repeat. None are returned where the window is empty.
        """
        num_frames = sampling.num_frames
        if sampling.rule == "clip4clip" and num_frames is not None:
            return clip4clip_indices(
                num_frames, len(self.ticks), self.rate, kept=sampling.kept, window=window
            )
        seen = self.within(window)
        if sampling.fps is not None:
            seconds = [self.seconds(place) - self.seconds(seen[0]) for place in seen]
            chosen = fps_indices(seconds, sampling.fps, num_frames)
        else:
            indices = xpool_indices if sampling.rule == "xpool" else uniform_indices
            chosen = indices(num_frames or len(seen), len(seen), sampling.candidates)
        return [seen[index] for index in chosen]
