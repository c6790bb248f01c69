"""Sampling rules: which frames of a video to take, without decoding."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

from vopcli.config.schema import DEFAULT_NUM_FRAMES, DEFAULT_SAMPLING_RULE, DataConfig
from vopcli.errors import UsageError, format_value
from vopcli.video.video_file import WHOLE, TimeWindow

_XPOOL_FRAMES: Final = 12  # segments of which X-Pool takes the same frames as the uniform rule

SamplingRule = Literal["uniform", "xpool", "clip4clip", "fps"]
Kept = Literal["uniform", "head", "tail"]

_FORMS: Final = (
    "uniform, uniform:12, uniform:12x3, xpool:12, clip4clip:12, clip4clip:12:head, fps:1 or fps:1:max=64"
)
_SEGMENTS = re.compile(
    r"(?P<rule>uniform|xpool)(?::(?P<count>\d{1,9})(?:x(?P<candidates>\d{1,9}))?)?", re.ASCII
)
_CLIP4CLIP = re.compile(r"clip4clip(?::(?P<count>\d{1,9}))?(?::(?P<kept>uniform|head|tail))?", re.ASCII)
_KEPT: Final[dict[str, Kept]] = {"uniform": "uniform", "head": "head", "tail": "tail"}
_FPS = re.compile(r"fps:(?P<fps>\d{1,9}(?:\.\d{1,9}|/\d{1,9})?)(?::max=(?P<cap>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class Sampling:
    """A rule that selects frames of a video.

    Attributes:
        rule: "uniform" takes the middle frames of ``num_frames`` equal segments; "xpool" does the same with
            the segments of X-Pool; "clip4clip" takes the first frame of each second, as CLIP4Clip counts
            seconds; "fps" takes the frame shown at every 1/``fps`` seconds.
        num_frames: frames per video; for fps sampling the maximum, None for `MAX_FPS_FRAMES`.
        fps: frames per second of fps sampling, else None.
        kept: frames that clip4clip sampling keeps if there are more than ``num_frames``: evenly spaced ones,
            the first or the last.
        candidates: frames kept per segment, of which training draws one; odd, so that the middle one is the
            frame of ``candidates=1``.
    """

    rule: SamplingRule
    num_frames: int | None
    fps: Fraction | None = None
    kept: Kept = "uniform"
    candidates: int = 1

    def __post_init__(self) -> None:
        if self.rule != "fps" and (self.num_frames is None or self.fps is not None):
            raise ValueError(f"{self.rule} sampling takes a number of frames and no fps, got {self}")
        if self.rule == "fps" and (self.fps is None or self.fps <= 0):
            raise ValueError(f"fps sampling takes a positive number of frames per second, got {self}")
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"sampling takes at least one frame, got {self}")
        if self.kept != "uniform" and self.rule != "clip4clip":
            raise ValueError(f"only clip4clip sampling takes head or tail, got {self}")
        if self.candidates % 2 == 0 or (self.candidates != 1 and self.rule not in {"uniform", "xpool"}):
            raise ValueError(f"sampling takes an odd number of candidates, if it has segments, got {self}")

    @property
    def num_stored(self) -> int | None:
        """Frames taken per video, candidates included; None if the number depends on the video."""
        return None if self.rule == "fps" or self.num_frames is None else self.num_frames * self.candidates

    @property
    def plain(self) -> Sampling:
        """The sampling under its canonical name: with 12 segments, X-Pool's rule equals the uniform rule.

        Bound k of n frames is k * (n / 12), truncated. It can only be wrong if it is an integer and n / 12 is
        rounded; then its denominator is 3 or 6, and k is 3, 6 or 9. Three times a rounded third is exact
        again (Kahan), and nine times a rounded third is off by less than half of its last bit.
        """
        is_uniform = self.rule == "xpool" and self.num_frames == _XPOOL_FRAMES
        return replace(self, rule="uniform") if is_uniform else self

    @property
    def middle(self) -> Sampling:
        """The sampling of the middle candidates alone; all uses except training read only these."""
        return replace(self, candidates=1)

    def __str__(self) -> str:
        """Return the canonical text, which `parse_sampling` reads back."""
        if self.fps is None:
            times = f"x{self.candidates}" if self.candidates > 1 else ""
            return f"{self.rule}:{self.num_frames}{times}" + (
                "" if self.kept == "uniform" else f":{self.kept}"
            )
        text = f"fps:{_decimal(self.fps)}"
        return text if self.num_frames is None else f"{text}:max={self.num_frames}"


# fps sampling without a maximum keeps so many frames of a window: memory does not grow with its length.
MAX_FPS_FRAMES: Final = 512
DEFAULT_SAMPLING: Final = Sampling(DEFAULT_SAMPLING_RULE, DEFAULT_NUM_FRAMES)


def parse_sampling(text: str, num_frames: int | None = None, candidates: int | None = None) -> Sampling:
    """Parse a sampling rule as written on the command line and in files.

    Args:
        text: "uniform", "uniform:12", "uniform:12x3", "xpool" in the same forms, "clip4clip", "clip4clip:12",
            "clip4clip:12:head", "clip4clip:tail", "fps:1", "fps:0.5", "fps:30000/1001" or "fps:1:max=64".
        num_frames: frames to take, for fps the maximum; None: the number in ``text``, else the default.
        candidates: frames to keep of each segment.

    Raises:
        UsageError: ``text`` is not a sampling rule, or contradicts the numbers.
    """
    rule_text = text.strip().lower()
    if num_frames is not None and num_frames < 1:
        raise UsageError(f"cannot take {num_frames} frames of a video", hint="use 1 or more")
    if match := _SEGMENTS.fullmatch(rule_text):
        rule: SamplingRule = "xpool" if match["rule"] == "xpool" else "uniform"
        count = _agreed(text, match["count"], num_frames) or DEFAULT_NUM_FRAMES
        each = _agreed(text, match["candidates"], candidates, "candidates") or 1
        if each % 2 == 0:
            raise UsageError(
                f"the number of candidates, {each}, is even: evaluation needs a middle one",
                hint=f"use {each - 1} or {each + 1} candidates per segment",
            )
        return Sampling(rule, count, candidates=each)
    if candidates not in {None, 1}:
        raise UsageError(
            f"sampling {format_value(text)} has no segments, so it cannot keep "
            f"{candidates} candidates per segment",
            hint="use uniform or xpool, or omit --candidates",
        )
    if match := _CLIP4CLIP.fullmatch(rule_text):
        count = _agreed(text, match["count"], num_frames) or DEFAULT_NUM_FRAMES
        return Sampling("clip4clip", count, kept=_KEPT[match["kept"] or "uniform"])
    if match := _FPS.fullmatch(rule_text):
        return Sampling("fps", _agreed(text, match["cap"], num_frames), _rate(text, match["fps"]))
    raise UsageError(f"unknown sampling {format_value(text)}", hint=f"write {_FORMS}")


def requested_sampling(data: DataConfig) -> Sampling | None:
    """Return the sampling that the settings specify; None if they specify none.

    Raises:
        UsageError: `data.sampling` cannot be parsed, or it contradicts the numbers.
    """
    if not data.sampling and data.num_frames is None and data.candidates is None:
        return None
    return parse_sampling(data.sampling or DEFAULT_SAMPLING_RULE, data.num_frames, data.candidates)


def uniform_indices(num_frames: int, num_presentable: int, candidates: int = 1) -> list[int]:
    """Take the middle frame of equal segments; segment k begins at the frame floor(N k / segments).

    Args:
        num_frames: number of segments.
        num_presentable: N, number of presentable frames.
        candidates: frames to take per segment, evenly spaced; odd, so that one is the middle frame.

    Returns:
        Non-decreasing indices in ``[0, num_presentable)``, segment by segment. A segment with fewer frames
        than candidates repeats some. A video with fewer frames than segments has one segment per frame.
    """
    segments = min(num_frames, num_presentable)
    return _spread(
        [num_presentable * k // segments for k in range(segments + 1)] if segments else [], candidates
    )


def xpool_indices(num_frames: int, num_presentable: int, candidates: int = 1) -> list[int]:
    """Take the middle frame of X-Pool's segments, whose bounds are numpy's linspace, truncated.

    Some bounds are one frame less than those of `uniform_indices`, if a product of floats is rounded below
    an integer: first for 14 frames of 122. Arguments and result are as there.
    """
    segments = min(num_frames, num_presentable)
    # The same two operations on the same floats as in numpy, hence the same bits.
    bounds = [int(k * (num_presentable / segments)) for k in range(segments)]
    return _spread([*bounds, num_presentable] if segments else [], candidates)


def _spread(bounds: Sequence[int], candidates: int) -> list[int]:
    """Divide each segment into ``candidates`` equal parts; return the centre of each part, rounded down."""
    return [
        start + max(((2 * part + 1) * (end - start) - candidates) // (2 * candidates), 0)
        for start, end in itertools.pairwise(bounds)
        for part in range(candidates)
    ]


def clip4clip_indices(
    num_frames: int,
    num_presentable: int,
    rate: Fraction,
    *,
    kept: Kept = "uniform",
    window: TimeWindow = WHOLE,
) -> list[int]:
    """Take the first frame of each second, as CLIP4Clip does.

    The rate is truncated to an integer (29 at 29.97). The second at which the window ends is included, so
    31 seconds give 32 frames.

    Args:
        num_frames: maximum number of frames.
        num_presentable: number of presentable frames.
        rate: average frames per second according to the container; below 1 counts as 1.
        kept: frames to keep if there are more: "head", "tail", or "uniform", from the first to the last.
        window: the part of the video; its bounds are widened to whole seconds.

    Returns:
        At most ``num_frames`` increasing indices in ``[0, num_presentable)``; may be empty.
    """
    fps = max(int(rate), 1)
    last_second = min(window.end_seconds, -(-num_presentable // fps))
    seconds = range(max(math.floor(window.start_seconds), 0), math.ceil(last_second) + 1)
    found = [second * fps for second in seconds if second * fps < num_presentable]
    if len(found) <= num_frames:
        return found
    if kept != "uniform":
        return found[:num_frames] if kept == "head" else found[-num_frames:]
    step = (len(found) - 1) / max(num_frames - 1, 1)  # numpy's linspace, truncated
    return [found[int(k * step)] for k in range(num_frames - 1)] + [found[-1 if num_frames > 1 else 0]]


def fps_indices(
    seconds: Sequence[Fraction | float], fps: Fraction | float, cap: int | None = None
) -> list[int]:
    """Take the frame that is shown at 0, 1/fps, 2/fps, ... seconds, each frame once.

    Args:
        seconds: increasing presentation times of the frames, the first one 0.
        fps: samples per second.
        cap: maximum number of frames, evenly spaced among the sampled ones; None: no limit.

    Returns:
        Increasing indices in ``[0, len(seconds))``.
    """
    if not seconds:
        return []
    step = 1 / Fraction(fps)
    chosen: list[int] = []
    instant = 0
    while instant * step <= seconds[-1]:
        index = max(bisect.bisect_right(seconds, instant * step) - 1, 0)
        chosen.append(index)
        instant += 1
        if index + 1 < len(seconds):  # skip the instants at which this frame is still shown
            instant = max(instant, math.ceil(Fraction(seconds[index + 1]) * Fraction(fps)))
    if cap is None or len(chosen) <= cap:
        return chosen
    return [chosen[k] for k in uniform_indices(cap, len(chosen))]


def _agreed(text: str, written: str | None, asked: int | None, unit: str = "frames") -> int | None:
    """Return the number given by the text or by the option.

    Raises:
        UsageError: the numbers differ, or the number is 0.
    """
    if written is None:
        return asked
    count = int(written)
    if count < 1:
        raise UsageError(f"sampling {format_value(text)} contains the number 0", hint="use 1 or more")
    if asked is not None and asked != count:
        raise UsageError(
            f"sampling {format_value(text)} contradicts {asked} {unit}", hint="give the number once"
        )
    return count


def _rate(text: str, written: str) -> Fraction:
    try:
        rate = Fraction(written)
    except ZeroDivisionError:
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UsageError(
            f"the rate of sampling {format_value(text)} is out of range",
            hint="use a rate above 0 and at most 1000",
        )
    return rate


def _decimal(value: Fraction) -> str:
    """Format a fraction as a decimal if it has at most 9 digits: 1/2 as 0.5, 30000/1001 unchanged."""
    places = next((n for n in range(10) if value.denominator and 10**n % value.denominator == 0), None)
    if places is None:
        return str(value)
    return f"{float(value):.{places}f}" if places else str(value.numerator)
