"""Window rules: the parts of a long video that get frames and embeddings of their own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vopcli.errors import UsageError, format_value
from vopcli.video.video_file import WHOLE, TimeWindow

AUTO_SECONDS: Final = 10.0
# A video of up to this many windows has none: its own frames are close enough to each other.
_MIN_WINDOWS: Final = 3
_MAX_SECONDS: Final = 86_400.0
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True)
class WindowRule:
    """A rule that divides a video into windows.

    Attributes:
        seconds: approximate length of a window; None: the whole video is the only window.
    """

    seconds: float | None = AUTO_SECONDS

    def __str__(self) -> str:
        if self.seconds is None:
            return "whole"
        return "auto" if self.seconds == AUTO_SECONDS else f"{self.seconds:g}"

    def count(self, duration_seconds: float) -> int:
        """Return the number of windows of a video, without the whole video."""
        if self.seconds is None or duration_seconds <= _MIN_WINDOWS * self.seconds:
            return 0
        return math.ceil(duration_seconds / self.seconds)

    def windows(self, duration_seconds: float) -> tuple[TimeWindow, ...]:
        """Divide a video longer than three windows into ceil(duration / seconds) equal windows.

        Returns:
            The windows in order, and the whole video last. Example: 31 s by ``auto`` gives 0 to 7.75,
            7.75 to 15.5, 15.5 to 23.25 and 23.25 to 31 s, and the whole video.
        """
        count = self.count(duration_seconds)
        if not count:
            return (WHOLE,)
        bounds = [duration_seconds * k / count for k in range(count)] + [duration_seconds]
        return (*(TimeWindow(start, end) for start, end in pairwise(bounds)), WHOLE)


WHOLE_ONLY: Final = WindowRule(None)


def parse_windows(text: str) -> WindowRule:
    """Parse ``auto``, ``whole`` or a length in seconds.

    Raises:
        UsageError: ``text`` is none of these, or the length is out of range.
    """
    word = text.strip().lower()
    if word in {"auto", "whole"}:
        return WindowRule() if word == "auto" else WHOLE_ONLY
    if _NUMBER.fullmatch(word) and 0 < float(word) <= _MAX_SECONDS:
        return WindowRule(float(word))
    raise UsageError(
        f"unknown windows {format_value(text)}", hint="write auto, whole, or a length in seconds such as 30"
    )
