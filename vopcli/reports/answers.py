"""Top-ranked videos of each model for some queries, with a few frames: the paper's figure 7.

Axes: F frames of a video.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.evaluation.results import EvalResult
from vopcli.video.preprocess import fit_frame, jpeg_bytes

_RULE: Final = (
    "Shown are the captions on which the models differ most, by the ratio of the worst to the best rank of "
    "the right video; among equals those that are ranked worst, then the order of the captions. "
    "At most one caption a video."
)
NOTES: Final = (_RULE, "In brackets: the rank of the right video in a model.")
_NUM_FRAMES: Final = 4
_SIDE_PX: Final = 112
_QUALITY: Final = 80


@dataclass(frozen=True)
class RankedVideo:
    """A top-ranked video, or the right one.

    Attributes:
        video: its path.
        is_right: whether the caption describes it.
        finders: models that rank it first, with their rank of the right video.
        frames: a few of its frames in order, as data URIs.
    """

    video: str
    is_right: bool
    finders: Sequence[str]
    frames: Sequence[str]


@dataclass(frozen=True)
class ShownQuery:
    """A caption with the right video and the top-ranked videos of all models."""

    caption: str
    found: Sequence[RankedVideo]


def choose_queries(results: Sequence[EvalResult], count: int) -> list[int]:
    """Return the indices of ``count`` captions to show, by the rule in `NOTES`."""
    ranks = [result.metrics.t2v.ranks for result in results]
    answers = results[0].answers

    def difference(query: int) -> tuple[float, float]:
        of_query = [row[query] for row in ranks]
        return -math.log(max(of_query) / min(of_query)), -max(of_query)

    chosen: dict[str, int] = {}
    for query in sorted(range(len(answers)), key=difference):
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
    """Return the top-ranked videos of each query without repeats, the right one first.

    Args:
        results: of the same captions in the same order.
        names: of the models.
        queries: indices of the captions.
        frames_of: gives the frames of a video as data URIs.
    """
    shown = []
    for query in queries:
        answer = results[0].answers[query]
        finders: dict[str, list[str]] = {answer.video: []}
        for name, result in zip(names, results, strict=True):
            rank = result.metrics.t2v.ranks[query]
            finders.setdefault(result.answers[query].first, []).append(f"{name} (rank {rank:,.7g})")
        found = [
            RankedVideo(video, video == answer.video, models, frames_of(video))
            for video, models in finders.items()
        ]
        shown.append(ShownQuery(answer.caption, found))
    return shown


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
