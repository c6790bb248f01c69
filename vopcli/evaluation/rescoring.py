"""Hubness correction: dual softmax and QB-Norm. Neither is part of the standard protocol.

Dual softmax uses all queries of the test split at once, so a search cannot apply it. QB-Norm uses a bank of
training captions instead, reduced to one number for each video, which an index can store.

Axes: Q captions, G videos, B captions of the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import TieRule
from vopcli.evaluation.metrics import DEPTHS, DirectionMetrics, RetrievalMetrics, measure_similarity
from vopcli.search.qb_norm import QB_NORM, Doubles, QueryBank, build_query_bank, log_sums
from vopcli.search.similarity import GivenRows, Ints, Rows

DUAL_SOFTMAX: Final = "dual-softmax"
LOGIT_SCALE: Final = 100.0  # the final value of CLIP's training
BETAS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class RescoredRows:
    """A matrix (Q, G) whose rows are computed lazily from those of another."""

    def __init__(self, source: Rows, change: Callable[[slice, Doubles], Doubles]) -> None:
        self.shape = source.shape
        self._source = source
        self._change = change

    def __getitem__(self, rows: slice, /) -> Doubles:
        """Return the rescored rows (n, G)."""
        return self._change(rows, np.asarray(self._source[rows], np.float64))


@dataclass(frozen=True, eq=False)
class BetaChoice:
    """The beta with the best t2v metrics on the validation split, and the metrics of each beta."""

    beta: float
    tried: dict[float, DirectionMetrics]


def dual_softmax_t2v(similarity: Rows, *, logit_scale: float = LOGIT_SCALE) -> RescoredRows:
    """Rescore for t2v by S' = L * softmax(L, dim=0) * Q, with L = logit_scale * S.

    Each column, that is each video's logits with **all captions of the test**, is normalised to sum 1: a
    caption is preferred by a video in comparison with the other captions. Source: dual softmax (Cheng et
    al., Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax Loss, 2021, arXiv
    2109.04290), as applied at test time. Negative logits are multiplied as well, which reverses
    their order; that is the published formula. In float64, because in float32 the softmax underflows to ties
    of 0.

    Args:
        similarity: (Q, G) cosines.
        logit_scale: exp of the model's logit scale.

    Raises:
        NotFiniteError: a score is NaN or infinite.
    """
    column = log_sums(similarity, logit_scale)  # (G,)

    def change(_: slice, scores: Doubles) -> Doubles:
        logits = logit_scale * scores
        return logits * np.exp(logits - column) * similarity.shape[0]

    return RescoredRows(similarity, change)


def dual_softmax_v2t(similarity: Rows, *, logit_scale: float = LOGIT_SCALE) -> RescoredRows:
    """Rescore for v2t: `dual_softmax_t2v` of the transposed matrix, transposed back to (Q, G).

    So each row, a caption's logits with **all videos of the test**, is normalised to sum 1, and the factor
    is G.
    """

    def change(_: slice, scores: Doubles) -> Doubles:
        logits = logit_scale * scores
        peak = logits.max(axis=1, keepdims=True)
        weights = np.exp(logits - peak)
        return logits * (weights / weights.sum(axis=1, keepdims=True)) * similarity.shape[1]

    return RescoredRows(similarity, change)


def measure_dual_softmax(
    similarity: Rows,
    owner: NDArray[np.integer[Any]],
    *,
    logit_scale: float = LOGIT_SCALE,
    ties: TieRule | str = TieRule.AVERAGE,
) -> RetrievalMetrics:
    """Compute the metrics of cosines (Q, G) after dual softmax, for each direction separately.

    Raises:
        NotFiniteError: a score is NaN or infinite.
        ValueError: shapes are wrong, or an owner is no column.
    """
    t2v = measure_similarity(dual_softmax_t2v(similarity, logit_scale=logit_scale), owner, ties=ties)
    v2t = measure_similarity(dual_softmax_v2t(similarity, logit_scale=logit_scale), owner, ties=ties)
    return RetrievalMetrics(
        t2v=replace(t2v.t2v, scoring=DUAL_SOFTMAX, uses_other_queries=True),
        v2t=replace(v2t.v2t, scoring=DUAL_SOFTMAX, uses_other_queries=True),
        ties=t2v.ties,
    )


def measure_qb_norm(
    similarity: Rows,
    owner: NDArray[np.integer[Any]],
    bank: QueryBank,
    *,
    ties: TieRule | str = TieRule.AVERAGE,
) -> DirectionMetrics:
    """Compute t2v metrics of cosines (Q, G) after QB-Norm; ranks do not depend on other queries of the test.

    Raises:
        NotFiniteError: a score is NaN or infinite.
        ValueError: shapes are wrong, or an owner is no column.
    """
    rescored = RescoredRows(GivenRows(similarity), lambda _, scores: bank.apply(scores))
    return replace(measure_similarity(rescored, owner, ties=ties).t2v, scoring=QB_NORM)


def choose_beta(
    similarity: Rows,
    owner: Ints,
    bank: Rows,
    *,
    betas: Sequence[float] = BETAS,
    top: int = 1,
    ties: TieRule | str = TieRule.AVERAGE,
) -> BetaChoice:
    """Choose QB-Norm's beta on the validation split.

    The best has the highest t2v R@1, then R@5, R@10, and lowest mean rank; among equals the smallest wins.

    Args:
        similarity: (Q, G) cosines of the **validation** split, never of the test.
        owner: (Q,) the video of each of its captions.
        bank: (B, G) cosines of the bank's training captions with the validation videos.
        betas: candidates.
        top: as for `build_query_bank`.
        ties: the rule for equal scores.

    Raises:
        NotFiniteError: a score is NaN or infinite.
        ValueError: shapes do not fit, or `betas` is empty.
    """
    if not betas:
        raise ValueError("no beta to try")
    tried = {
        beta: measure_qb_norm(similarity, owner, build_query_bank(bank, beta=beta, top=top), ties=ties)
        for beta in sorted(betas)
    }
    best = max(tried, key=lambda beta: _merit(tried[beta]))
    return BetaChoice(best, tried)


def _merit(metrics: DirectionMetrics) -> tuple[float, ...]:
    return (*(metrics.recall_percent[depth] for depth in DEPTHS), -metrics.mean_rank)
