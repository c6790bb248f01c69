"""Find the ranges of a video that match a query, from the cosines of its frames. NumPy only.

The best match is the highest mean of three successive frames, so that one odd frame does not decide; it
also ranks the videos of an index that has windows. From there a range grows to both sides while that raises
the sum of c_i - t over its frames, where t lies 60 % of the way from the median cosine to the best match:
the maximum-sum segment, which bridges a short dip. Example:

    cosines       .20 .20 .30 .20 .34 .30 .32 .20 .20
    best match                    [.34 .30 .32]: mean .32, median .20, so t = .20 + 0.6 * .12 = .272
    c_i - t                  -.072 .068 .028 .048 -.072: frames 5 to 7; frame 3 (+.028) is not worth frame 4

Ranges of one video do not overlap. Mean inside minus mean outside (TFVTG, ECCV 2024) prefers the shortest
range, and weighed by the length it prefers long ranges of weak matches.

Axes: T frames of a video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MATCHED_FRAMES: Final = 3  # successive ones that are compared with a text; a picture with one
_HEIGHT: Final = 0.6  # of the limit between median and best match
REACH_SECONDS: Final = 120.0  # of a range to each side of the best match


@dataclass(frozen=True)
class Range:
    """A range of a video that matches a query; times in seconds.

    Attributes:
        start: where it begins, half way between two frames.
        end: where it ends.
        best: time of its frame most similar to the query.
        score: mean cosine of its frames and the query.
    """

    start: float
    end: float
    best: float
    score: float


def best_matches(cosines: NDArray[np.float32], matched: int = MATCHED_FRAMES) -> NDArray[np.float32]:
    """Return the highest mean of ``matched`` successive frames, or of a quarter of the frames if less.

    Args:
        cosines: (..., T) of a query with frames in order of time.
        matched: number of frames that are to match.

    Returns:
        (...) float32.
    """
    count = _num_matched(cosines.shape[-1], matched)
    means = np.lib.stride_tricks.sliding_window_view(cosines, count, axis=-1).mean(axis=-1)
    return np.asarray(means.max(axis=-1), np.float32)


def find_ranges(
    cosines: NDArray[np.float32],
    seconds: NDArray[np.float64],
    span: tuple[float, float],
    *,
    most: int = 1,
    matched: int = MATCHED_FRAMES,
) -> list[Range]:
    """Find the ranges of a video that match a query best.

    Args:
        cosines: (T,) of the query with each frame.
        seconds: (T,) times of the frames, increasing.
        span: begin and end of the video, or of the part with these frames, in seconds.
        most: maximum number of ranges.
        matched: number of successive frames that are to match, see `best_matches`.

    Returns:
        At least one range, that of the best match first; none overlap. The whole span if all frames match
        equally.
    """
    values = cosines.astype(np.float64)
    count = _num_matched(len(values), matched)
    means = np.convolve(values, np.ones(count) / count, "valid")  # of the frames from i on
    begin, end_of_all = min(span[0], float(seconds[0])), max(span[1], float(seconds[-1]))
    bounds = np.concatenate([[begin], (seconds[1:] + seconds[:-1]) / 2, [end_of_all]])
    ordered = np.sort(values)
    background = float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2  # the median
    ranges: list[Range] = []
    while len(ranges) < most:
        first = int(means.argmax())
        height = float(means[first]) - background
        if height < 1e-6:  # differences of rounding
            break
        start, end = _grow(values - (background + _HEIGHT * height), seconds, first, first + count)
        best = start + int(values[start:end].argmax())
        ranges.append(
            Range(
                float(bounds[start]),
                float(bounds[end]),
                float(seconds[best]),
                float(values[start:end].mean()),
            )
        )
        means[max(start - count + 1, 0) : end] = -np.inf
        values[start:end] = -np.inf  # the next ranges end here
    return ranges or [Range(begin, end_of_all, float(seconds[values.argmax()]), float(values.mean()))]


def _num_matched(num_frames: int, most: int) -> int:
    return min(most, max(num_frames // 4, 1))


def _grow(gains: NDArray[np.float64], seconds: NDArray[np.float64], first: int, end: int) -> tuple[int, int]:
    """Return the range that holds the middle of ``first`` to ``end`` and has the highest sum of ``gains``."""
    middle = (first + end - 1) // 2
    low, high = np.searchsorted(seconds, seconds[middle] + np.array([-1.0, 1.0]) * REACH_SECONDS)
    before = np.cumsum(gains[low : middle + 1][::-1])
    after = np.cumsum(gains[middle : max(high, middle + 1)])
    return middle - int(before.argmax()), middle + int(after.argmax()) + 1
