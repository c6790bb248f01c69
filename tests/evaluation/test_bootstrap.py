"""Intervals against a bootstrap that draws query by query, and against what theory expects."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from vopcli.evaluation.bootstrap import compare_ranks, recall_intervals

Ranks = np.ndarray[Any, np.dtype[np.float64]]


def two_models(num_queries: int) -> tuple[Ranks, Ranks]:
    generator = np.random.default_rng(0)
    first = np.floor(generator.exponential(6, num_queries)) + 1
    second = np.maximum(first + generator.integers(-3, 3, num_queries), 1)
    return first, second


def bootstrap_by_hand(first: Ranks, second: Ranks, groups: list[int], depth: int) -> tuple[float, float]:
    """Draw groups one by one, 2,000 times."""
    draw = random.Random(1)  # noqa: S311
    members: dict[int, list[int]] = {}
    for query, group in enumerate(groups):
        members.setdefault(group, []).append(query)
    change = [int(b <= depth) - int(a <= depth) for a, b in zip(first, second, strict=True)]
    sums = [(sum(change[q] for q in queries), len(queries)) for queries in members.values()]
    means = []
    for _ in range(2000):
        drawn = draw.choices(sums, k=len(sums))
        means.append(100 * sum(total for total, _ in drawn) / sum(size for _, size in drawn))
    means.sort()
    return means[50], means[1949]


@pytest.mark.parametrize("has_groups", [False, True])
def test_intervals_agree_with_drawing_one_by_one(has_groups: bool) -> None:
    first, second = two_models(300)
    groups = [math.isqrt(query) for query in range(300)] if has_groups else list(range(300))
    second = np.where(np.arange(300) > 100, first - first // 2, second)  # all of the large groups get better
    comparison = compare_ranks(first, second, groups=np.array(groups) if has_groups else None)
    assert comparison.num_groups == len(set(groups))
    for depth in (1, 5, 10):
        interval = comparison.difference[depth]
        assert interval.value == pytest.approx(100 * ((second <= depth).mean() - (first <= depth).mean()))
        low, high = bootstrap_by_hand(first, second, groups, depth)
        assert interval.low == pytest.approx(low, abs=0.7)
        assert interval.high == pytest.approx(high, abs=0.7)
        assert interval.low <= interval.value <= interval.high


def test_a_thousand_queries_mean_three_points_either_way() -> None:
    ranks = np.where(np.arange(1000) < 400, 1, 20)
    intervals = recall_intervals(ranks)
    half_width = 100 * 1.96 * math.sqrt(0.4 * 0.6 / 1000)  # normal approximation: 3.04
    assert intervals[1].value == 40.0
    assert intervals[1].high - 40 == pytest.approx(half_width, abs=0.15)
    assert 40 - intervals[1].low == pytest.approx(half_width, abs=0.15)
    assert intervals[10].value == 40.0
    assert [recall_intervals(np.ones(9))[1].low, recall_intervals(np.full(9, 2))[1].high] == [100.0, 0.0]


def test_pairing_makes_the_interval_narrower_than_two_models_apart() -> None:
    first, second = two_models(1000)
    paired = compare_ranks(first, second).difference[5]
    apart = [recall_intervals(ranks)[5] for ranks in (first, second)]
    assert paired.high - paired.low < 0.7 * math.hypot(*(i.high - i.low for i in apart))


def test_captions_of_one_video_drawn_together_give_wider_intervals() -> None:
    first, second = two_models(50)
    once = compare_ranks(first, second).difference[5]
    first, second, groups = np.repeat(first, 20), np.repeat(second, 20), np.repeat(np.arange(50), 20)
    grouped = compare_ranks(first, second, groups=groups).difference[5]
    single = compare_ranks(first, second).difference[5]
    assert grouped == once  # twenty copies of a query say nothing new
    assert (single.high - single.low) * 3 < grouped.high - grouped.low


def test_wins_losses_and_ties_a_query() -> None:
    comparison = compare_ranks(np.array([1, 2, 3, 1.5]), np.array([1, 1, 5, 1.0]))
    assert (comparison.wins, comparison.losses, comparison.ties) == (2, 1, 1)
    assert comparison.gain.tolist() == [0, 1, -2, 0.5]
    assert comparison.difference[1].value == 50.0  # of ranks 1, 2, 3, 1.5 only the first is a first place
    assert comparison.difference[5].value == 0.0


def test_a_model_beside_itself_differs_by_nothing_and_exchange_turns_the_sign() -> None:
    first, second = two_models(200)
    same = compare_ranks(first, first)
    assert (same.wins, same.losses, same.ties) == (0, 0, 200)
    assert all((i.value, i.low, i.high) == (0, 0, 0) for i in same.difference.values())
    there, back = compare_ranks(first, second), compare_ranks(second, first)
    assert (there.wins, there.losses) == (back.losses, back.wins)
    for depth in (1, 5, 10):
        assert there.difference[depth].value == -back.difference[depth].value
        assert there.difference[depth].low == pytest.approx(-back.difference[depth].high, abs=0.6)


def test_a_seed_decides_the_draw() -> None:
    first, second = two_models(500)
    once, again = compare_ranks(first, second, seed=3), compare_ranks(first, second, seed=3)
    assert once.difference == again.difference
    few = [compare_ranks(first, second, seed=seed, num_samples=20).difference for seed in (3, 4)]
    assert few[0] != few[1]  # of many samples the ends may be the same
    assert json.loads(json.dumps(once.to_json())) == {
        "difference": {
            f"R@{depth}": {
                "value": once.difference[depth].value,
                "low": once.difference[depth].low,
                "high": once.difference[depth].high,
            }
            for depth in (1, 5, 10)
        },
        "wins": once.wins,
        "losses": once.losses,
        "ties": once.ties,
        "num_queries": 500,
        "num_groups": 500,
        "num_samples": 10_000,
        "confidence_percent": 95.0,
        "seed": 3,
    }


def test_many_kinds_of_groups_are_drawn_in_parts_all_the_same() -> None:
    first, second = two_models(20_000)
    groups = np.repeat(np.arange(200), np.arange(200) % 90 + 10)[:20_000]
    first, second = first[: len(groups)], second[: len(groups)]
    whole = compare_ranks(first, second, groups=groups, num_samples=30_000)
    assert whole.num_groups == 200
    assert whole.difference[1].low < whole.difference[1].value < whole.difference[1].high
    assert compare_ranks(first, second, depths=(3,), num_samples=50).difference.keys() == {3}


def test_ranks_that_do_not_fit_are_refused() -> None:
    good = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match=r"ranks of the same queries, got \(2,\) and \(3,\)"):
        compare_ranks(good, np.ones(3))
    with pytest.raises(ValueError, match=r"a group for each of 2 queries, got \(3,\)"):
        compare_ranks(good, good, groups=np.arange(3))
    for bad in (np.array([0.0, 1]), np.array([np.nan, 1]), np.array([]), np.ones((2, 2))):
        with pytest.raises(ValueError, match="one number of at least 1 for each query"):
            recall_intervals(bad)
        with pytest.raises(ValueError, match="one number of at least 1 for each query"):
            compare_ranks(good, bad)
