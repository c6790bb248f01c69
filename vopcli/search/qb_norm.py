"""Hubness correction by QB-Norm, with a bank of training captions instead of the other queries.

Unlike dual softmax, which needs all queries of a test set, QB-Norm keeps one number per video, so an index
can store it and a single query can use it. It is not part of the standard protocol.

Axes: Q captions, G videos, B captions of the bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.search.similarity import AnyFloats, GivenRows, Rows, iter_blocks

Doubles = NDArray[np.float64]


QB_NORM: Final = "qb-norm"


@dataclass(frozen=True, eq=False)
class QueryBank:
    """The statistics of a query bank: a number per video, and the videos for which QB-Norm is applied.

    Attributes:
        beta: inverse temperature.
        top: number of best videos per bank caption that are activated.
        num_captions: B.
        column: (G,) float32, ln(sum over the bank of exp(beta * score)) / beta, in units of the score.
        is_activated: (G,) bool, the videos among the ``top`` best of at least one bank caption.
    """

    beta: float
    top: int
    num_captions: int
    column: NDArray[np.float32]
    is_activated: NDArray[np.bool_]

    def apply(self, scores: AnyFloats) -> Doubles:
        """Rescore one query (G,) or several (n, G), each independently of the others.

        Dynamic inverted softmax (Bogolin et al., Cross Modal Retrieval with Querybank Normalisation, CVPR
        2022, arXiv 2112.12777): if the best video of query q is activated,

            S'[q, g] = exp(beta * S[q, g]) / sum over the bank b of exp(beta * S[b, g])

        otherwise S' = S. In the first case ln(S') / beta = S - column is returned, which ranks the videos in
        the same order, in units of the score. Scores of different queries are not comparable, so use them for
        t2v only. If several videos share the best score, one activated video among them is enough.

        Raises:
            ValueError: the number of scores per query is not G.
        """
        if scores.shape[-1] != len(self.column):
            raise ValueError(f"the query bank has {len(self.column)} videos, got scores {scores.shape}")
        scores = scores.astype(np.float64)
        is_best = scores == scores.max(axis=-1, keepdims=True)
        is_gated = (is_best & self.is_activated).any(axis=-1, keepdims=True)
        return np.where(is_gated, scores - self.column, scores)


def build_query_bank(bank: Rows, *, beta: float, top: int = 1) -> QueryBank:
    """Compute the statistics of a query bank for the videos of a gallery.

    The column of a video depends on the bank only; whether it is activated depends on the other videos too.
    All videos that share the ``top``-th best score of a caption are activated.

    Args:
        bank: (B, G) cosines of training captions with the videos; captions of the test set would leak.
        beta: inverse temperature, above 0.
        top: at least 1.

    Raises:
        NotFiniteError: a score is NaN or infinite.
        ValueError: `beta` or `top` is out of range, or `bank` is empty.
    """
    if not 0 < beta < np.inf or top < 1:
        raise ValueError(f"beta must be above 0 and top at least 1, got {beta} and {top}")
    column = (log_sums(bank, beta) / beta).astype(np.float32)
    num_captions, num_videos = bank.shape
    top_column = max(num_videos - top, 0)
    is_activated = np.zeros(num_videos, np.bool_)
    for rows in iter_blocks(bank.shape, None):
        scores = np.asarray(bank[rows])
        least = np.partition(scores, top_column, axis=1)[:, top_column, None]
        is_activated |= (scores >= least).any(axis=0)
    return QueryBank(beta, top, num_captions, column, is_activated)


def log_sums(similarity: Rows, scale: float) -> Doubles:
    """Return ln(sum over the rows of exp(scale * score)) for each column (G,)."""
    given = GivenRows(similarity)
    given.own(np.zeros(given.shape[0], np.int64))  # refuses scores that are not finite
    sums = np.full(given.shape[1], -np.inf)
    for rows in iter_blocks(given.shape, None):
        logits = scale * given[rows].astype(np.float64)
        peak = logits.max(axis=0)
        np.logaddexp(sums, peak + np.log(np.exp(logits - peak).sum(axis=0)), out=sums)
    return sums
