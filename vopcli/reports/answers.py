"""Top-ranked videos of each model for some queries, with their frames: the paper's figure 7.

Axes: F frames of a video.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.evaluation.results import EvalResult
from vopcli.video.preprocess import fit_frame, jpeg_bytes

DIFFERENT: Final = (
    "The captions on which the models differ most, by the ratio of the worst to the best rank of the right "
    "video; among equals those that are ranked worst. At most one caption per video."
)
WORST: Final = (
    "The captions whose right video is ranked worst, by the geometric mean of its ranks in the models. "
    "At most one caption per video."
)
_NUM_FRAMES: Final = 4
_SIDE_PX: Final = 112
_QUALITY: Final = 80


@dataclass(frozen=True)
class RankedVideo:
    """A video, its middle frame as a data URI, and whether the caption describes it."""

    video: str
    is_right: bool
    frame: str


@dataclass(frozen=True)
class Ranking:
    """Top-ranked videos of a model, best first, and its rank of the right video."""

    model: str
    rank: float
    top: Sequence[RankedVideo]


@dataclass(frozen=True)
class ShownQuery:
    """A caption with its video, a few frames of it in order as data URIs, and each model's ranking."""

    caption: str
    video: str
    frames: Sequence[str]
    rankings: Sequence[Ranking]


def choose_different(results: Sequence[EvalResult], count: int) -> list[int]:
    """Return the indices of ``count`` captions by the rule in `DIFFERENT`."""

    def difference(of_query: Sequence[float]) -> tuple[float, float]:
        return max(of_query) / min(of_query), max(of_query)

    return _choose(results, count, difference)


def choose_worst(results: Sequence[EvalResult], count: int) -> list[int]:
    """Return the indices of ``count`` captions by the rule in `WORST`."""
    return _choose(results, count, lambda of_query: (math.prod(of_query), 0.0))


def _choose(
    results: Sequence[EvalResult], count: int, key: Callable[[Sequence[float]], tuple[float, float]]
) -> list[int]:
    """Return the captions with the highest keys of their ranks; among equals the earlier ones."""
    ranks = [*zip(*(result.metrics.t2v.ranks.tolist() for result in results), strict=True)]
    answers = results[0].answers
    chosen: dict[str, int] = {}
    for query in sorted(range(len(answers)), key=lambda query: key(ranks[query]), reverse=True):
        if len(chosen) == count:
            break
        chosen.setdefault(answers[query].video, query)
    return list(chosen.values())


def show_queries(
    results: Sequence[EvalResult],
    names: Sequence[str],
    queries: Sequence[int],
    frames_of: Callable[[str], Sequence[str]],
) -> list[ShownQuery]:
    """Return each query with its video and the top-ranked videos of the models.

    Args:
        results: of the same captions in the same order.
        names: of the models.
        queries: indices of the captions.
        frames_of: gives the frames of a video as data URIs.
    """
    frames_of = cache(frames_of)
    shown = []
    for query in queries:
        answer = results[0].answers[query]
        rankings = [
            Ranking(
                name,
                float(result.metrics.t2v.ranks[query]),
                [
                    RankedVideo(video, video == answer.video, _middle(frames_of(video)))
                    for video in result.answers[query].top
                ],
            )
            for name, result in zip(names, results, strict=True)
        ]
        shown.append(ShownQuery(answer.caption, answer.video, frames_of(answer.video), rankings))
    return shown


def _middle(frames: Sequence[str]) -> str:
    return frames[len(frames) // 2]


def frame_uris(frames: NDArray[np.uint8]) -> list[str]:
    """Return a few evenly spaced frames of a video as JPEG data URIs.

    Args:
        frames: (F, S, S, 3) uint8 RGB.
    """
    middles = (2 * np.arange(_NUM_FRAMES) + 1) * len(frames) // (2 * _NUM_FRAMES)
    small = [frames[i] for i in dict.fromkeys(middles.tolist())]
    if frames.shape[1] > _SIDE_PX:
        small = [fit_frame(frame, _SIDE_PX) for frame in small]
    encoded = [base64.b64encode(jpeg_bytes(frame, _QUALITY)).decode("ascii") for frame in small]
    return [f"data:image/jpeg;base64,{text}" for text in encoded]
