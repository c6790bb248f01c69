"""Ranges that match a query, compared with their definition and with known scenes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.search.ranges import Range, best_matches, find_ranges


def iou(one: Range, start: float, end: float) -> float:
    shared = min(one.end, end) - max(one.start, start)
    return max(shared, 0.0) / (max(one.end, end) - min(one.start, start))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=14), st.integers(1, 4))
def test_ranges_by_the_definition(values: list[float], most: int) -> None:
    """The first range holds the best match, and no other range around its middle has a higher sum."""
    cosines, seconds = np.array(values, np.float32), np.arange(len(values)) + 0.5
    moments = find_ranges(cosines, seconds, (0.0, float(len(values))), most=most)
    assert 1 <= len(moments) <= most
    for one, other in itertools.combinations(moments, 2):
        assert one.end <= other.start or other.end <= one.start
    count = min(3, max(len(values) // 4, 1))
    plain = [float(np.mean(cosines[i : i + count], dtype=np.float64)) for i in range(len(values) - count + 1)]
    height = max(plain) - float(np.median(cosines))
    if height < 1e-6 or sorted(plain)[-1] - sorted([*plain, -9])[-2] < 1e-6:
        return
    middle = int(np.argmax(plain)) + (count - 1) // 2
    limit = float(np.median(cosines)) + 0.6 * height
    sums = {
        (first, end): sum(float(value) - limit for value in cosines[first:end])
        for first in range(middle + 1)
        for end in range(middle + 1, len(values) + 1)
    }
    found = round(moments[0].start), round(moments[0].end)
    assert sums[found] == pytest.approx(max(sums.values()), abs=1e-6)
    inside = cosines[found[0] : found[1]]
    assert moments[0].score == pytest.approx(float(inside.mean(dtype=np.float64)), abs=1e-6)
    assert moments[0].best == found[0] + int(inside.argmax()) + 0.5
    assert float(best_matches(cosines)) == pytest.approx(max(plain), abs=1e-6)


@pytest.mark.parametrize("length", [3.0, 8.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_scene_in_noise(length: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = np.arange(0.4, 600.0, 10 / 12)
    start = rng.uniform(20.0, 560.0)
    inside = (seconds >= start) & (seconds < start + length)
    cosines = (0.2 + 0.1 * inside + rng.normal(0, 0.015, len(seconds))).astype(np.float32)
    [moment] = find_ranges(cosines, seconds, (0.0, 600.0))
    assert iou(moment, start, start + length) > 0.5
    assert moment.start <= moment.best < moment.end
    assert moment.score == pytest.approx(0.3, abs=0.06)


def test_several_scenes_in_the_order_of_evidence() -> None:
    seconds = np.arange(100) + 0.5
    cosines = np.full(100, 0.2, np.float32)
    cosines[10:20], cosines[50:60], cosines[80:84] = 0.3, 0.4, 0.3
    moments = find_ranges(cosines, seconds, (0.0, 100.0), most=3)
    assert [(moment.start, moment.end) for moment in moments] == [(50.0, 60.0), (10.0, 20.0), (80.0, 84.0)]
    assert len(find_ranges(cosines, seconds, (0.0, 100.0), most=9)) == 3
    for one, other in itertools.combinations(moments, 2):
        assert one.end <= other.start or other.end <= one.start


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_video_without_differences_is_one_range(count: int) -> None:
    seconds = np.arange(count) + 0.5
    [moment] = find_ranges(np.full(count, 0.25, np.float32), seconds, (0.0, float(count)), most=3)
    assert (moment.start, moment.end) == (0.0, float(count))
    assert moment.score == pytest.approx(0.25)


def test_a_long_film_is_quick_and_small() -> None:
    seconds = np.arange(40_000) * 0.83
    cosines = np.random.default_rng(0).normal(0.2, 0.02, 40_000).astype(np.float32)
    cosines[20_000:20_010] += 0.15
    [moment] = find_ranges(cosines, seconds, (0.0, 40_000 * 0.83))
    assert iou(moment, 20_000 * 0.83, 20_010 * 0.83) > 0.7
