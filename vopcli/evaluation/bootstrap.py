"""Paired bootstrap: intervals of the recall of a model, and of its difference between two models.

Axes: N queries, S samples of the bootstrap, K depths of the recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.evaluation.metrics import DEPTHS

Ranks = NDArray[np.floating[Any]]

_NUM_SAMPLES: Final = 10_000
_CONFIDENCE_PERCENT: Final = 95.0
_DRAWN_NUMBERS: Final = 1 << 22  # limit of numbers held in memory at once


@dataclass(frozen=True)
class Interval:
    """A value in percentage points with the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class RankComparison:
    """Differences in rank from a first model to a second one.

    Attributes:
        difference: by depth K, R@K of the second minus R@K of the first.
        wins: queries with a better rank in the second model.
        losses: queries with a worse rank.
        ties: queries with the same rank.
        gain: (N,) first rank minus second, positive where the second model is better.
        num_groups: resampled units: groups of queries, or single queries.
        num_samples: S.
        confidence_percent: percentage of the samples within an interval.
        seed: of the resampling.
    """

    difference: dict[int, Interval]
    wins: int
    losses: int
    ties: int
    gain: NDArray[np.float64]
    num_groups: int
    num_samples: int
    confidence_percent: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document, percentage points in full precision."""
        return {
            "difference": {f"R@{depth}": asdict(interval) for depth, interval in self.difference.items()},
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "num_queries": len(self.gain),
            "num_groups": self.num_groups,
            "num_samples": self.num_samples,
            "confidence_percent": self.confidence_percent,
            "seed": self.seed,
        }


def compare_ranks(
    first: Ranks,
    second: Ranks,
    *,
    groups: NDArray[np.integer[Any]] | None = None,
    depths: Sequence[int] = DEPTHS,
    num_samples: int = _NUM_SAMPLES,
    seed: int = 0,
) -> RankComparison:
    """Compare two models query by query, with paired bootstrap intervals of the differences in recall.

    Each sample draws N queries with replacement and takes the difference of both models on the same queries
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, percentile intervals).

    Args:
        first: (N,) rank of each query's right answer, from 1, in the first model.
        second: (N,) of the same queries in the second.
        groups: (N,) group of each query, such as the video of a caption. Groups are drawn as a whole, because
            captions of one video are not independent: drawn singly, they would give too narrow intervals.
        depths: K of each R@K.
        num_samples: S.
        seed: the same seed gives the same intervals.

    Raises:
        ValueError: `first` and `second` differ in shape, or a rank is less than 1 or NaN.
    """
    first, second = _check_ranks(first), _check_ranks(second)
    if first.shape != second.shape:
        raise ValueError(f"need ranks of the same queries, got {first.shape} and {second.shape}")
    change = np.stack(
        [(second <= depth).astype(np.int64) - (first <= depth) for depth in depths], axis=1
    )  # (N, K)
    gain = first - second
    intervals, num_groups = _bootstrap(change, groups, num_samples, seed)
    return RankComparison(
        difference=dict(zip(depths, intervals, strict=True)),
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
        ties=int((gain == 0).sum()),
        gain=gain,
        num_groups=num_groups,
        num_samples=num_samples,
        confidence_percent=_CONFIDENCE_PERCENT,
        seed=seed,
    )


def recall_intervals(
    ranks: Ranks,
    *,
    groups: NDArray[np.integer[Any]] | None = None,
    depths: Sequence[int] = DEPTHS,
    num_samples: int = _NUM_SAMPLES,
    seed: int = 0,
) -> dict[int, Interval]:
    """Return R@K in percent of one model by K, with intervals; arguments as in `compare_ranks`.

    Raises:
        ValueError: a rank is less than 1 or NaN.
    """
    ranks = _check_ranks(ranks)
    hits = np.stack([(ranks <= depth).astype(np.int64) for depth in depths], axis=1)  # (N, K)
    intervals, _ = _bootstrap(hits, groups, num_samples, seed)
    return dict(zip(depths, intervals, strict=True))


def _check_ranks(given: Ranks) -> NDArray[np.float64]:
    ranks: NDArray[np.float64] = np.asarray(given, np.float64)
    if ranks.ndim != 1 or not len(ranks) or not (ranks >= 1).all():
        raise ValueError(
            f"ranks must be one number of at least 1 for each query, got {ranks.shape} {ranks[:5]}"
        )
    return ranks


def _bootstrap(
    values: NDArray[np.int64], groups: NDArray[np.integer[Any]] | None, num_samples: int, seed: int
) -> tuple[list[Interval], int]:
    """Return an interval of 100 times the mean of each column of ``values`` (N, K), and the number of groups.

    Groups with the same sums and size are interchangeable, so only the number of draws of each kind matters.
    It is multinomial: exactly the distribution of drawing the groups one by one, but there are few kinds.

    Raises:
        ValueError: `groups` does not have one entry for each query.
    """
    totals = np.concatenate(
        [values, np.ones((len(values), 1), np.int64)], axis=1
    )  # (N, K + 1), last the size
    if groups is not None:
        if groups.shape != values.shape[:1]:
            raise ValueError(f"need a group for each of {len(values)} queries, got {groups.shape}")
        names, numbers = np.unique(groups, return_inverse=True)
        summed = np.zeros((len(names), totals.shape[1]), np.int64)
        np.add.at(summed, numbers, totals)
        totals = summed
    kinds, counts = np.unique(totals, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWN_NUMBERS // len(kinds))
    means = np.empty((num_samples, values.shape[1]))
    for start in range(0, num_samples, step):
        part = means[start : start + step]
        drawn = generator.multinomial(len(totals), counts / len(totals), size=len(part))  # (s, kinds)
        sums = drawn @ kinds
        part[:] = 100.0 * sums[:, :-1] / sums[:, -1:]
    tail = (100.0 - _CONFIDENCE_PERCENT) / 2.0
    low, high = np.percentile(means, [tail, 100.0 - tail], axis=0)
    points = 100.0 * values.mean(axis=0)
    return [Interval(*ends) for ends in zip(points.tolist(), low.tolist(), high.tolist(), strict=True)], len(
        totals
    )
