"""Metrics of moment retrieval, against values by hand and a plain form of the published protocol."""

from __future__ import annotations

import numpy as np
import pytest

from vopcli.evaluation.moments import average_precision, iou, measure_constant, measure_moments


def plain_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def plain_average_precision(
    predicted: list[tuple[float, float]], relevant: list[tuple[float, float]], threshold: float
) -> float:
    """As in ActivityNet's detection toolkit: the precision is made monotone, and summed over recall steps."""
    taken: set[int] = set()
    right = []
    for prediction in predicted[:10]:
        order = sorted(range(len(relevant)), key=lambda k: -plain_iou(prediction, relevant[k]))
        match = next(
            (k for k in order if k not in taken and plain_iou(prediction, relevant[k]) >= threshold), None
        )
        if match is not None:
            taken.add(match)
        right.append(match is not None)
    points = [(sum(right[: k + 1]) / len(relevant), sum(right[: k + 1]) / (k + 1)) for k in range(len(right))]
    area, reached = 0.0, 0.0
    for recall, _ in points:
        if recall > reached:
            area += (recall - reached) * max(precision for other, precision in points if other >= recall)
            reached = recall
    return area


def random_ranges(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    # on a coarse grid, so that many ranges agree
    return [(float(start), float(start + length)) for start, length in rng.integers(1, 12, (count, 2))]


def test_overlap_by_hand() -> None:
    found = iou(np.array([[0.0, 10.0], [5.0, 5.0]]), np.array([[5.0, 15.0], [20.0, 30.0], [5.0, 5.0]]))
    np.testing.assert_allclose(found, [[1 / 3, 0, 0], [0, 0, 0]])


def test_metrics_by_hand() -> None:
    predicted = [np.array([[0.0, 6.0], [10.0, 20.0]]), np.array([[0.0, 3.0]])]
    relevant = [np.array([[0.0, 10.0], [10.0, 20.0]]), np.array([[3.0, 9.0]])]
    metrics = measure_moments(predicted, relevant)
    assert (metrics.r1_at_50, metrics.r1_at_70) == (50.0, 0.0)
    assert metrics.mean_iou == pytest.approx(30.0)
    # Of the first query both ranges are right up to 0.6, three thresholds; above it the second one alone,
    # with a precision of 1/2 and half of the recall. The second query finds nothing.
    assert metrics.mean_ap == pytest.approx(100 * (3 * 1.0 + 7 * 0.25) / 10 / 2)


def test_average_precision_is_that_of_the_published_protocol() -> None:
    rng = np.random.default_rng(3)
    compared = []
    for _ in range(300):
        predicted = random_ranges(rng, int(rng.integers(1, 13)))
        relevant = random_ranges(rng, int(rng.integers(1, 5)))
        overlaps = iou(np.array(predicted[:10]), np.array(relevant))
        for threshold in (0.5, 0.75):
            expected = plain_average_precision(predicted, relevant, threshold)
            assert average_precision(overlaps, threshold) == pytest.approx(expected)
            compared.append(expected)
    assert len(set(compared)) > 20


def test_metrics_of_many_queries_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    predicted = [random_ranges(rng, 12) for _ in range(40)]
    relevant = [random_ranges(rng, int(rng.integers(1, 4))) for _ in range(40)]
    pairs = list(zip(predicted, relevant, strict=True))
    first = [max(plain_iou(p[0], one) for one in w) for p, w in pairs]
    mean_ap = np.mean([[plain_average_precision(p, w, k / 20) for k in range(10, 20)] for p, w in pairs])
    metrics = measure_moments([np.array(p) for p in predicted], [np.array(w) for w in relevant])
    expected = [
        sum(value >= 0.5 for value in first) / 0.4,
        sum(value >= 0.7 for value in first) / 0.4,
        100 * mean_ap,
        100 * np.mean(first),
    ]
    np.testing.assert_allclose(list(vars(metrics).values()), expected)


def test_the_floor_is_the_best_of_all_constant_ranges() -> None:
    relevant = [np.array([[0.0, 50.0]]), np.array([[0.0, 20.0], [80.0, 100.0]]), np.array([[10.0, 30.0]])]
    durations = [100.0, 100.0, 40.0]
    floor = measure_constant(durations, relevant)
    grid = [(a / 20, b / 20) for a in range(20) for b in range(a + 1, 21)]
    for name in ("r1_at_50", "r1_at_70", "mean_ap", "mean_iou"):
        best = max(
            getattr(
                measure_moments([np.array([[a * d, b * d]]) for d in durations], relevant),
                name,
            )
            for a, b in grid
        )
        assert getattr(floor, name) == pytest.approx(best)
    assert floor.r1_at_50 == pytest.approx(200 / 3)
