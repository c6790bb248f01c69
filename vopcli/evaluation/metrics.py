"""Retrieval metrics: recall at K, median and mean rank, for t2v and v2t in one pass over the scores.

Ranks start at 1. A query counts for R@K if its rank is at most K; so a rank of 1.5, the average of two tied
candidates, does not count for R@1.

Axes: Q captions, G videos, E joint width, N queries of a direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import TieRule
from vopcli.evaluation.ranks import Counts, count_ranks
from vopcli.search.similarity import AnyFloats, CosineRows, GivenRows, Ints, Rows

DEPTHS: Final = (1, 5, 10)
DEEPER: Final = (50, 100)  # reported if the gallery has as many candidates
_SUMMED: Final = (*DEPTHS, 100)
PLAIN: Final = "plain"


@dataclass(frozen=True, eq=False)
class DirectionMetrics:
    """Metrics of one direction.

    Attributes:
        protocol: queries and candidates, in words.
        ties: the rule that was applied. Under ``clip4clip`` this is ``xpool`` for t2v if videos have several
            captions, as in that code.
        scoring: ``plain`` or the name of a rescoring rule.
        uses_other_queries: True if the ranks of a query depend on the other queries of the test.
        recall_percent: R@K by K, in [0, 100].
        median_rank: numpy's median, the mean of the two middle ranks of an even number.
        median_rank_lower: torch's median, the lower of the two.
        mean_rank: MnR.
        num_queries: N.
        num_ranks: ranks that the metrics are computed from: N, or more under ``clip4clip``.
        num_tied_queries: queries whose target has the same score as another candidate.
        gallery_size: candidates of each query.
        queries: (N,) indices of the captions or videos, ascending.
        ranks: (N,) float64 rank of the target of each query; under ``clip4clip`` the mean of its ranks.
    """

    protocol: str
    ties: TieRule
    scoring: str
    uses_other_queries: bool
    recall_percent: dict[int, float]
    median_rank: float
    median_rank_lower: float
    mean_rank: float
    num_queries: int
    num_ranks: int
    num_tied_queries: int
    gallery_size: int
    queries: Ints
    ranks: NDArray[np.float64]

    @property
    def by_name(self) -> dict[str, float]:
        """The metrics by their names in tables: R@K in percent, their sum SumR, MdR, MdR_lower and MnR.

        SumR is R@1 + R@5 + R@10 + R@100, the sum of partially relevant retrieval. R@100 of a gallery of less
        than 100 candidates is 100.
        """
        recalls = {**self.recall_percent, 100: self.recall_percent.get(100, 100.0)}
        return {
            **{f"R@{depth}": value for depth, value in recalls.items()},
            "SumR": sum(recalls[depth] for depth in _SUMMED),
            "MdR": self.median_rank,
            "MdR_lower": self.median_rank_lower,
            "MnR": self.mean_rank,
        }

    def to_dict(self, *, with_ranks: bool = False) -> dict[str, Any]:
        """Return a JSON document in full precision, with the rank of each query if asked."""
        document: dict[str, Any] = {
            **self.by_name,
            "num_queries": self.num_queries,
            "num_ranks": self.num_ranks,
            "num_tied_queries": self.num_tied_queries,
            "gallery_size": self.gallery_size,
            "protocol": self.protocol,
            "ties": self.ties.value,
            "scoring": self.scoring,
            "uses_other_queries": self.uses_other_queries,
        }
        if with_ranks:
            document |= {"queries": self.queries.tolist(), "ranks": self.ranks.tolist()}
        return document


@dataclass(frozen=True, eq=False)
class RetrievalMetrics:
    """Metrics of both directions, and the requested rule for ties."""

    t2v: DirectionMetrics
    v2t: DirectionMetrics
    ties: TieRule

    @property
    def by_direction(self) -> dict[str, DirectionMetrics]:
        """The metrics of "t2v" and "v2t"."""
        return {"t2v": self.t2v, "v2t": self.v2t}

    def to_dict(self, *, with_ranks: bool = False) -> dict[str, Any]:
        """Return a JSON document, percentages in full precision."""
        directions = {name: item.to_dict(with_ranks=with_ranks) for name, item in self.by_direction.items()}
        return {**directions, "ties": self.ties.value}


def measure_embeddings(
    text: AnyFloats,
    video: AnyFloats,
    owner: NDArray[np.integer[Any]],
    *,
    ties: TieRule | str = TieRule.AVERAGE,
    block_rows: int | None = None,
) -> RetrievalMetrics:
    """Compute the metrics of cosine scores.

    Args:
        text: (Q, E) L2-normalised.
        video: (G, E) L2-normalised.
        owner: (Q,) the video of each caption, in ``[0, G)``; several captions may have the same one.
        ties: the rule for equal scores.
        block_rows: captions to score at a time; affects memory only.

    Raises:
        NotFiniteError: an embedding holds NaN or infinity; the error holds the rows.
        ValueError: shapes or norms are wrong, or an owner is not a row of ``video``.
    """
    owner = _check_owner(owner, (len(text), len(video)))
    # sorted by video, so that few partial results are held at a time
    order = np.argsort(owner, kind="stable")
    t2v, v2t = count_ranks(CosineRows(text, video, order=order), owner[order], block_rows=block_rows)
    asked = np.argsort(order)
    t2v = Counts(t2v.queries, t2v.above[asked], t2v.tied[asked], t2v.tied_before[asked], t2v.gallery_size)
    return _metrics(t2v, v2t, TieRule(ties))


def measure_similarity(
    similarity: Rows,
    owner: NDArray[np.integer[Any]],
    *,
    ties: TieRule | str = TieRule.AVERAGE,
    block_rows: int | None = None,
) -> RetrievalMetrics:
    """Compute the metrics of a score matrix; its rows are read twice, in blocks.

    If captions of one video are not adjacent, up to one row for each video is held in memory.

    Args:
        similarity: (Q, G) scores, higher is more similar.
        owner: (Q,) the video of each caption, in ``[0, G)``.
        ties: the rule for equal scores.
        block_rows: rows to read at a time.

    Raises:
        NotFiniteError: a score is NaN or infinite; the error holds its position.
        ValueError: shapes are wrong, or an owner is not a column.
    """
    rows = GivenRows(similarity)
    t2v, v2t = count_ranks(rows, _check_owner(owner, rows.shape), block_rows=block_rows)
    return _metrics(t2v, v2t, TieRule(ties))


def _check_owner(owner: NDArray[np.integer[Any]], shape: tuple[int, ...]) -> Ints:
    owner = np.asarray(owner)
    if owner.shape != shape[:1] or owner.dtype.kind not in "iu":
        raise ValueError(f"need an integer for each of {shape[0]} captions, got {owner.dtype} {owner.shape}")
    outside = np.flatnonzero((owner < 0) | (owner >= shape[1]))
    if len(outside):
        first = outside[0]
        raise ValueError(f"caption {first} belongs to video {owner[first]}, there are {shape[1]} videos")
    return owner.astype(np.int64)


def _metrics(t2v: Counts, v2t: Counts, ties: TieRule) -> RetrievalMetrics:
    has_several = len(t2v.queries) > len(v2t.queries)
    sentence_ties = TieRule.XPOOL if ties is TieRule.CLIP4CLIP and has_several else ties
    return RetrievalMetrics(
        t2v=_direction(t2v, sentence_ties, "each caption ranks the videos"),
        v2t=_direction(
            v2t,
            ties,
            "each video ranks the videos by their best caption"
            if has_several
            else "each video ranks the captions",
        ),
        ties=ties,
    )


def _direction(counts: Counts, ties: TieRule, protocol: str) -> DirectionMetrics:
    ranks = _ranks(counts, ties)
    values, weights = _all_tied_ranks(counts) if ties is TieRule.CLIP4CLIP else _count_each(ranks)
    total = int(weights.sum())
    ends = np.cumsum(weights)  # values[i] covers the sorted positions below ends[i]
    lower, upper = values[np.searchsorted(ends, [(total - 1) // 2, total // 2], side="right")].tolist()
    depths = [*DEPTHS, *(depth for depth in DEEPER if depth <= counts.gallery_size)]
    return DirectionMetrics(
        protocol=protocol,
        ties=ties,
        scoring=PLAIN,
        uses_other_queries=False,
        recall_percent={depth: 100.0 * int(weights[values <= depth].sum()) / total for depth in depths},
        median_rank=(lower + upper) / 2.0,
        median_rank_lower=float(lower),
        mean_rank=float((values * weights).sum() / total),
        num_queries=len(ranks),
        num_ranks=total,
        num_tied_queries=int((counts.tied > 1).sum()),
        gallery_size=counts.gallery_size,
        queries=counts.queries,
        ranks=ranks,
    )


def _ranks(counts: Counts, ties: TieRule) -> NDArray[np.float64]:
    if ties is TieRule.PESSIMISTIC:
        return (counts.above + counts.tied).astype(np.float64)
    if ties is TieRule.XPOOL:
        return (counts.above + counts.tied_before + 1).astype(np.float64)
    return counts.above + (counts.tied + 1) / 2.0


def _count_each(ranks: NDArray[np.float64]) -> tuple[NDArray[np.float64], Ints]:
    values, weights = np.unique(ranks, return_counts=True)
    return values.astype(np.float64), weights.astype(np.int64)


def _all_tied_ranks(counts: Counts) -> tuple[NDArray[np.float64], Ints]:
    """Return the distinct ranks and their counts, where each tied position of each query is a rank."""
    steps = np.bincount(counts.above, minlength=counts.gallery_size + 1)
    steps -= np.bincount(counts.above + counts.tied, minlength=counts.gallery_size + 1)
    weights = np.cumsum(steps)[:-1]
    values = np.flatnonzero(weights)
    return (values + 1).astype(np.float64), weights[values].astype(np.int64)
