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
from vopcli.errors import UsageError

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
        return "all of it" if self == WHOLE else f"{self.start_seconds:g} to {self.end_seconds:g} s"


WHOLE: Final = TimeWindow(0.0, math.inf)


@dataclass(frozen=True)
class Sampling:
    """A rule that says which frames of a video to take.

    Attributes:
        rule: "uniform" takes the middle frames of ``num_frames`` equal segments; "xpool" the same with the
            segments of X-Pool; "clip4clip" the first frame of each second, as CLIP4Clip counts seconds;
            "fps" the frame shown at every 1/``fps`` seconds.
        num_frames: frames of a video, or the most that an fps sampling may take (None: no limit).
        fps: frames a second of an fps sampling, else None.
        kept: which frames of a clip4clip sampling stay where a video has more: evenly spread ones, the
            first or the last.
        candidates: frames kept of each segment, of which training draws one; odd, so that the middle one is
            the frame that would be taken without them.
    """

    rule: SamplingRule
    num_frames: int | None
    fps: Fraction | None = None
    kept: Kept = "uniform"
    candidates: int = 1

    def __post_init__(self) -> None:
        if self.rule != "fps" and (self.num_frames is None or self.fps is not None):
            raise ValueError(f"{self.rule} sampling takes a number of frames and no fps, got {self!r}")
        if self.rule == "fps" and (self.fps is None or self.fps <= 0):
            raise ValueError(f"fps sampling takes a positive number of frames a second, got {self!r}")
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"sampling takes one frame at least, got {self!r}")
        if self.kept != "uniform" and self.rule != "clip4clip":
            raise ValueError(f"sampling takes head or tail of clip4clip only, got {self!r}")
        if self.candidates % 2 == 0 or (self.candidates != 1 and self.rule not in {"uniform", "xpool"}):
            raise ValueError(f"sampling takes an odd number of candidates of a segment, got {self!r}")

    @property
    def num_stored(self) -> int | None:
        """Frames taken of every video, candidates counted; None where that depends on the video."""
        return None if self.rule == "fps" or self.num_frames is None else self.num_frames * self.candidates

    @property
    def plain(self) -> Sampling:
        """The same choice of frames under its canonical name: with 12 segments, X-Pool's rule is uniform.

        Where a bound is a whole number, the only rounded factor is a third. Three times a rounded third is
        the whole again (Kahan), and nine times one is off by less than half of its last bit.
        """
        is_uniform = self.rule == "xpool" and self.num_frames == _XPOOL_FRAMES
        return replace(self, rule="uniform") if is_uniform else self

    @property
    def middle(self) -> Sampling:
        """The sampling of the middle candidates alone, which only training does not use."""
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


DEFAULT_SAMPLING: Final = Sampling(DEFAULT_SAMPLING_RULE, DEFAULT_NUM_FRAMES)


def parse_sampling(text: str, num_frames: int | None = None, candidates: int | None = None) -> Sampling:
    """Parse a sampling rule as written on the command line and in files.

    Args:
        text: "uniform", "uniform:12", "uniform:12x3", "xpool" in the same forms, "clip4clip", "clip4clip:12",
            "clip4clip:12:head", "clip4clip:tail", "fps:1", "fps:0.5", "fps:30000/1001" or "fps:1:max=64".
        num_frames: frames to take, with fps the maximum; None: what ``text`` says, else the default.
        candidates: frames to keep of each segment.

    Raises:
        UsageError: ``text`` is not a sampling rule, or contradicts the numbers.
    """
    rule_text = text.strip().lower()
    if num_frames is not None and num_frames < 1:
        raise UsageError(f"cannot take {num_frames} frames of a video", hint="give 1 or more")
    if match := _SEGMENTS.fullmatch(rule_text):
        rule: SamplingRule = "xpool" if match["rule"] == "xpool" else "uniform"
        count = _agreed(text, match["count"], num_frames) or DEFAULT_NUM_FRAMES
        each = _agreed(text, match["candidates"], candidates, "candidates") or 1
        if each % 2 == 0:
            raise UsageError(
                f"{each} candidates have no middle one, which evaluation would use",
                hint=f"keep {each - 1} or {each + 1} of each segment",
            )
        return Sampling(rule, count, candidates=each)
    if candidates not in {None, 1}:
        raise UsageError(
            f"sampling {text!r} has no segments to keep {candidates} candidates of",
            hint="use uniform or xpool",
        )
    if match := _CLIP4CLIP.fullmatch(rule_text):
        count = _agreed(text, match["count"], num_frames) or DEFAULT_NUM_FRAMES
        return Sampling("clip4clip", count, kept=_KEPT[match["kept"] or "uniform"])
    if match := _FPS.fullmatch(rule_text):
        return Sampling("fps", _agreed(text, match["cap"], num_frames), _rate(text, match["fps"]))
    raise UsageError(f"unknown sampling {text!r}", hint=f"write {_FORMS}")


def asked_sampling(data: DataConfig) -> Sampling | None:
    """Return the sampling that the settings ask for; None if they name none.

    Raises:
        UsageError: `data.sampling` cannot be parsed, or it contradicts the numbers.
    """
    if not data.sampling and data.num_frames is None and data.candidates is None:
        return None
    return parse_sampling(data.sampling or DEFAULT_SAMPLING_RULE, data.num_frames, data.candidates)


def uniform_indices(num_frames: int, num_presentable: int, candidates: int = 1) -> list[int]:
    """Take the middle frame of equal segments; segment k begins at the frame floor(N k / segments).

    Args:
        num_frames: segments wanted.
        num_presentable: N, frames the video presents.
        candidates: frames to take of each segment, evenly spread; odd, the middle one being the middle frame.

    Returns:
        Indices in ``[0, num_presentable)`` that never fall, segment by segment; of a segment of fewer frames
        than candidates some stand twice. A video of fewer frames than segments has a segment for each frame.
    """
    segments = min(num_frames, num_presentable)
    return _spread(
        [num_presentable * k // segments for k in range(segments + 1)] if segments else [], candidates
    )


def xpool_indices(num_frames: int, num_presentable: int, candidates: int = 1) -> list[int]:
    """Take the middle frame of X-Pool's segments, whose bounds are numpy's linspace, truncated.

    They differ from those of `uniform_indices` by one frame here and there, where a product of floats falls
    short of a whole number: first for 14 frames of 122. Arguments and result are the same.
    """
    segments = min(num_frames, num_presentable)
    # The same two operations on the same floats as numpy's, so the same bits.
    bounds = [int(k * (num_presentable / segments)) for k in range(segments)]
    return _spread([*bounds, num_presentable] if segments else [], candidates)


def _spread(bounds: Sequence[int], candidates: int) -> list[int]:
    """Return frames of each segment: the centres of as many equal parts of it, rounded down."""
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

    A second has as many frames as the rate has whole ones (29 at 29.97), and the second at which the window
    ends is taken too, so that 31 seconds give 32 frames.

    Args:
        num_frames: the most frames to take.
        num_presentable: frames the video presents.
        rate: frames a second that the container says, on average; below 1 counts as 1.
        kept: which to take where there are more: "head", "tail", or evenly spread from the first to the last.
        window: the part of the video; its bounds are widened to whole seconds.

    Returns:
        Rising indices in ``[0, num_presentable)``, at most ``num_frames``, perhaps none.
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


def _agreed(text: str, written: str | None, asked: int | None, unit: str = "frames") -> int | None:
    """Return the number that the text or the option gives.

    Raises:
        UsageError: both give a number and they differ, or the number is 0.
    """
    if written is None:
        return asked
    count = int(written)
    if count < 1:
        raise UsageError(f"sampling {text!r} takes no frame", hint="write 1 frame or more")
    if asked is not None and asked != count:
        raise UsageError(f"sampling {text!r} contradicts {asked} {unit}", hint="give the number once")
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
