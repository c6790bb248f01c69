"""Which frames of a video to take: integer arithmetic only, no decoding."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from vopcli.errors import UsageError

FRAMES_PER_VIDEO: Final = 12

SamplingRule = Literal["uniform", "fps"]

_FORMS: Final = "uniform, uniform:12, fps:1, fps:0.5 or fps:1:max=64"
_UNIFORM = re.compile(r"uniform(?::(?P<count>\d{1,9}))?", re.ASCII)
_FPS = re.compile(r"fps:(?P<fps>\d{1,9}(?:\.\d{1,9}|/\d{1,9})?)(?::max=(?P<cap>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The part of a video that frames are taken from; times count from the first frame the video presents.

    Attributes:
        start_seconds: where it begins; a frame presented at this time is the first one in it.
        end_seconds: where it ends, not included; it may lie behind the end of the video.
    """

    start_seconds: float
    end_seconds: float

    def __str__(self) -> str:
        return f"{self.start_seconds:g} to {self.end_seconds:g} s"


WHOLE: Final = TimeWindow(0.0, math.inf)


@dataclass(frozen=True)
class Sampling:
    """A rule that says which frames of a video to take.

    Attributes:
        rule: "uniform" takes the middle frames of ``num_frames`` equal segments; "fps" the frame shown at
            every 1/``fps`` seconds.
        num_frames: frames of a uniform sampling, or the most that an fps sampling may take (None: no limit).
        fps: frames a second of an fps sampling, else None.
    """

    rule: SamplingRule
    num_frames: int | None
    fps: Fraction | None = None

    def __post_init__(self) -> None:
        if self.rule == "uniform" and (self.num_frames is None or self.fps is not None):
            raise ValueError(f"uniform sampling takes a number of frames and no fps, got {self!r}")
        if self.rule == "fps" and (self.fps is None or self.fps <= 0):
            raise ValueError(f"fps sampling takes a positive number of frames a second, got {self!r}")
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"sampling takes one frame at least, got {self!r}")

    def __str__(self) -> str:
        """Return the canonical text, which `parse_sampling` reads back."""
        if self.fps is None:
            return f"uniform:{self.num_frames}"
        text = f"fps:{_decimal(self.fps)}"
        return text if self.num_frames is None else f"{text}:max={self.num_frames}"


def parse_sampling(text: str, num_frames: int | None = None) -> Sampling:
    """Read a sampling as a user writes it.

    Args:
        text: "uniform", "uniform:12", "fps:1", "fps:0.5", "fps:30000/1001" or "fps:1:max=64".
        num_frames: frames to take (uniform, 12 when given nowhere) or to take at most (fps).

    Raises:
        UsageError: the text is none of these, or it and ``num_frames`` contradict each other.
    """
    said = text.strip().lower()
    if num_frames is not None and num_frames < 1:
        raise UsageError(f"cannot take {num_frames} frames of a video", hint="give 1 or more")
    if match := _UNIFORM.fullmatch(said):
        count = _agreed(text, match["count"], num_frames)
        return Sampling("uniform", FRAMES_PER_VIDEO if count is None else count)
    if match := _FPS.fullmatch(said):
        return Sampling("fps", _agreed(text, match["cap"], num_frames), _rate(text, match["fps"]))
    raise UsageError(f"unknown sampling {text!r}", hint=f"write {_FORMS}")


def uniform_indices(num_frames: int, num_presentable: int) -> list[int]:
    """Take the middle frame of equal segments, as X-Pool does, in integer arithmetic.

    Args:
        num_frames: segments wanted.
        num_presentable: frames the video presents.

    Returns:
        Rising indices in ``[0, num_presentable)``; all of them when the video has fewer than ``num_frames``.
    """
    segments = min(num_frames, num_presentable)
    bounds = [num_presentable * k // segments for k in range(segments + 1)] if segments else [0]
    return [(start + end - 1) // 2 for start, end in itertools.pairwise(bounds)]


def fps_indices(
    seconds: Sequence[Fraction | float], fps: Fraction | float, cap: int | None = None
) -> list[int]:
    """Take the frame that is on the screen at 0, 1/fps, 2/fps, ... seconds, each frame once.

    Args:
        seconds: rising times at which the frames appear, the first one 0.
        fps: instants a second.
        cap: where more frames than this were chosen, keep this many of them, evenly spread; None keeps all.

    Returns:
        Rising indices in ``[0, len(seconds))``.
    """
    if not seconds:
        return []
    step = 1 / Fraction(fps)
    chosen: list[int] = []
    instant = 0
    while instant * step <= seconds[-1]:
        index = max(bisect.bisect_right(seconds, instant * step) - 1, 0)
        chosen.append(index)
        # The next instant worth a look is the first one at which the following frame is already shown.
        following = seconds[index + 1] if index + 1 < len(seconds) else None
        instant = (
            instant + 1
            if following is None
            else max(instant + 1, math.ceil(Fraction(following) * Fraction(fps)))
        )
    if cap is None or len(chosen) <= cap:
        return chosen
    return [chosen[k] for k in uniform_indices(cap, len(chosen))]


def _agreed(text: str, written: str | None, num_frames: int | None) -> int | None:
    """Return the one number of frames that the text or the option names.

    Raises:
        UsageError: both name one, and not the same; or it is none.
    """
    if written is None:
        return num_frames
    count = int(written)
    if count < 1:
        raise UsageError(f"sampling {text!r} takes no frame", hint="write 1 frame or more")
    if num_frames is not None and num_frames != count:
        raise UsageError(f"sampling {text!r} contradicts {num_frames} frames", hint="give the number once")
    return count


def _rate(text: str, written: str) -> Fraction:
    try:
        rate = Fraction(written)
    except ZeroDivisionError:
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UsageError(
            f"sampling {text!r} has no usable rate", hint="write a rate above 0 and at most 1000"
        )
    return rate


def _decimal(value: Fraction) -> str:
    """Write 1/2 as 0.5, but 30000/1001 as it is."""
    places = next((n for n in range(10) if value.denominator and 10**n % value.denominator == 0), None)
    if places is None:
        return str(value)
    return f"{float(value):.{places}f}" if places else str(value.numerator)
