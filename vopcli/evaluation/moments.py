"""Metrics of moment retrieval: overlap of predicted ranges of a video with annotated ones. NumPy only.

The first prediction counts for R1 and mIoU, compared with the annotated range that it overlaps most, as
QVHighlights does. The mAP is that of ActivityNet's detection task within each query, averaged over queries.

Axes: P predictions of a query, best first; W annotated ranges of it; Q queries. A range is (start, end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_PREDICTIONS: Final = 10
THRESHOLDS: Final = np.arange(10, 20) / 20  # 0.5 to 0.95
_STEPS: Final = 20  # of the constant ranges

Ranges = NDArray[np.float64]


@dataclass(frozen=True)
class MomentMetrics:
    """Percentages over all queries: R1 at two IoU, mAP over `THRESHOLDS`, and the mean IoU."""

    r1_at_50: float
    r1_at_70: float
    mean_ap: float
    mean_iou: float


def iou(first: Ranges, second: Ranges) -> NDArray[np.float64]:
    """Return intersection over union of (P, 2) with (W, 2) ranges, (P, W); 0 for two empty ranges."""
    starts = np.maximum(first[:, None, 0], second[None, :, 0])
    ends = np.minimum(first[:, None, 1], second[None, :, 1])
    shared = np.maximum(ends - starts, 0.0)
    union = np.diff(first, axis=1) + np.diff(second, axis=1).T - shared  # (P, W)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def average_precision(overlaps: NDArray[np.float64], threshold: float) -> float:
    """Return the area below the interpolated precision of one query's predictions.

    Each prediction, best first, is matched with the unmatched range that it overlaps most; if they overlap
    by less than ``threshold``, it is a false positive.

    Args:
        overlaps: (P, W) IoU.
        threshold: minimum IoU.
    """
    free, is_right = np.ones(overlaps.shape[1], bool), np.zeros(len(overlaps), bool)
    for number, row in enumerate(overlaps):
        reached = np.where(free, row, -1.0)
        taken = int(reached.argmax())
        if reached[taken] >= threshold:
            is_right[number], free[taken] = True, False
    precision = np.cumsum(is_right) / np.arange(1, len(is_right) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_after[is_right].sum() / overlaps.shape[1])


def measure_moments(predicted: Sequence[Ranges], relevant: Sequence[Ranges]) -> MomentMetrics:
    """Compare predictions with annotations.

    Args:
        predicted: (P, 2) of each query, best first, at least one; those after the tenth do not count.
        relevant: (W, 2) of each query.
    """
    overlaps = [iou(p[:MAX_PREDICTIONS], w) for p, w in zip(predicted, relevant, strict=True)]
    first = np.array([each[0].max() for each in overlaps])
    precisions = [average_precision(each, threshold) for each in overlaps for threshold in THRESHOLDS]
    return _metrics(first, float(np.mean(precisions)))


def measure_constant(durations: Sequence[float], relevant: Sequence[Ranges]) -> MomentMetrics:
    """Return the baseline of each metric: its best value for a range at the same fractions of every video.

    Args:
        durations: of the video of each query, in seconds.
        relevant: (W, 2) of each query.
    """
    starts, ends = np.triu_indices(_STEPS + 1, 1)
    fractions = np.stack([starts, ends], axis=1) / _STEPS  # (P, 2)
    first = np.array(
        [iou(fractions * seconds, w).max(axis=1) for seconds, w in zip(durations, relevant, strict=True)]
    )  # (Q, P)
    counts = np.array([len(ranges) for ranges in relevant])[:, None]
    # a single prediction finds one of the W ranges at most
    precision = sum((first >= threshold) / counts for threshold in THRESHOLDS) / len(THRESHOLDS)
    each = [_metrics(column, float(ap.mean())) for column, ap in zip(first.T, precision.T, strict=True)]
    best = np.array([list(vars(metrics).values()) for metrics in each]).max(axis=0).tolist()
    return MomentMetrics(*best)


def _metrics(first: NDArray[np.float64], mean_ap: float) -> MomentMetrics:
    """Return the metrics of the first predictions' IoU (Q,) and a mean of average precisions."""
    half, most = (float(100 * np.mean(first >= threshold)) for threshold in (0.5, 0.7))
    return MomentMetrics(half, most, 100 * mean_ap, float(100 * first.mean()))
