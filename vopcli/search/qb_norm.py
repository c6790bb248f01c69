"""Scores corrected for videos that are near to every text. Neither way is part of the plain protocol.

Dual softmax looks at all queries of the test at once, so no single search could use it. QB-Norm looks at a
bank of training captions instead, and what it takes from them is one number a video, which an index can
hold.

Axes: Q captions, G videos, B captions of the bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.search.similarity import Floats, GivenRows, Rows, iter_blocks

Doubles = NDArray[np.float64]


QB_NORM: Final = "qb-norm"


@dataclass(frozen=True, eq=False)
class QueryBank:
    """What QB-Norm needs of its bank: a number a video, and the videos it is applied for.

    Attributes:
        beta: inverse temperature.
        top: how many videos of each bank caption count as its answers.
        num_captions: B.
        column: (G,) float32, ln(sum over the bank of exp(beta * score)) / beta, in units of the score.
        is_activated: (G,) bool, the videos among the ``top`` best of any caption of the bank.
    """

    beta: float
    top: int
    num_captions: int
    column: NDArray[np.float32]
    is_activated: NDArray[np.bool_]

    def apply(self, scores: Floats) -> Doubles:
        """Rescore queries, each by itself: one query's scores (G,) or those of several (n, G).

        Dynamic inverted softmax (Bogolin et al., Cross Modal Retrieval with Querybank Normalisation, CVPR
        2022, arXiv 2112.12777): where the best video of query q is among the activated ones,

            S'[q, g] = exp(beta * S[q, g]) / sum over the bank b of exp(beta * S[b, g])

        and else S' = S. Returned is ln(S') / beta = S - column for the first kind: the same order of videos,
        in units of the score. Scores of different queries are not comparable, so this is for t2v alone. If
        several videos are best alike, one of them among the activated is enough.

        Raises:
            ValueError: there is not one score for each video.
        """
        if scores.shape[-1] != len(self.column):
            raise ValueError(f"the query bank is of {len(self.column)} videos, got scores {scores.shape}")
        scores = scores.astype(np.float64)
        is_best = scores == scores.max(axis=-1, keepdims=True)
        is_gated = (is_best & self.is_activated).any(axis=-1, keepdims=True)
        return np.where(is_gated, scores - self.column, scores)


def build_query_bank(bank: Rows, *, beta: float, top: int = 1) -> QueryBank:
    """Sum up a bank of training captions for the videos of a gallery.

    The column of a video depends on the bank alone, not on the other videos; which videos are activated
    depends on the whole gallery. All videos that share the ``top``-th best score of a caption are activated.

    Args:
        bank: (B, G) cosines of the bank's captions with the videos; never captions of the test.
        beta: inverse temperature, above 0.
        top: at least 1.

    Raises:
        NotFiniteError: a score is NaN or infinite.
        ValueError: ``beta`` or ``top`` is out of range, or there is no caption or no video.
    """
    if not 0 < beta < np.inf or top < 1:
        raise ValueError(f"beta must be above 0 and top at least 1, got {beta} and {top}")
    column = (_log_sums(bank, beta) / beta).astype(np.float32)
    num_captions, num_videos = bank.shape
    top_column = max(num_videos - top, 0)
    is_activated = np.zeros(num_videos, np.bool_)
    for rows in iter_blocks(bank.shape, None):
        scores = np.asarray(bank[rows])
        least = np.partition(scores, top_column, axis=1)[:, top_column, None]
        is_activated |= (scores >= least).any(axis=0)
    return QueryBank(beta, top, num_captions, column, is_activated)


def _log_sums(similarity: Rows, scale: float) -> Doubles:
    """Return ln(sum over the rows of exp(scale * score)) for each column (G,)."""
    given = GivenRows(similarity)
    given.own(np.zeros(given.shape[0], np.int64))  # looks at every score
    sums = np.full(given.shape[1], -np.inf)
    for rows in iter_blocks(given.shape, None):
        logits = scale * given[rows].astype(np.float64)
        peak = logits.max(axis=0)
        np.logaddexp(sums, peak + np.log(np.exp(logits - peak).sum(axis=0)), out=sums)
    return sums
