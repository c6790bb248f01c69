"""Scales: ticks are round, and any values lie within."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.reports.scales import Scale, linear_scale, log_scale, short_number

FINITE = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-9)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([22.2, 75.7], (20, 40, 60, 80)),
        ([0.0, 28_125], (0, 10_000, 20_000, 30_000)),
        ([51.2, 74.4], (50, 55, 60, 65, 70, 75)),
        ([0.1, 0.3], (0.1, 0.15, 0.2, 0.25, 0.3)),
        ([40.0], (36, 38, 40, 42, 44)),
        ([0.0], (-1, -0.5, 0, 0.5, 1)),
        ([0.1, 0.1 + 1e-15], (0.09, 0.095, 0.1, 0.105, 0.11)),
        ([], (0, 0.2, 0.4, 0.6, 0.8, 1)),
    ],
)
def test_linear_ticks_are_round_and_enclose_the_values(values: list[float], ticks: tuple[float, ...]) -> None:
    assert linear_scale(values, 0, 100).ticks == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([8_192, 30_720], (5e3, 1e4, 2e4, 5e4)),
        ([122_880, 119_826_432], (1e5, 1e6, 1e7, 1e8)),
        ([2_000, 14_000_000], (1e4, 1e5, 1e6, 1e7)),
        ([100_000], (1e5, 2e5)),
        ([1, 10], (1, 2, 5, 10)),
        ([], (1, 2)),
    ],
)
def test_log_ticks_are_round_and_enclose_the_values(values: list[float], ticks: tuple[float, ...]) -> None:
    scale = log_scale(values, 0, 100)
    assert scale.ticks == pytest.approx(ticks)


def test_a_decade_is_equally_long_everywhere_on_a_log_scale() -> None:
    scale = Scale(1e5, 1e9, 100, 500, (), is_log=True)
    assert [scale.position(10**power) for power in range(5, 10)] == [100, 200, 300, 400, 500]
    assert scale.position(2e6) - scale.position(1e6) == pytest.approx(100 * math.log10(2), abs=0.1)


@given(st.lists(FINITE, min_size=1, max_size=9))
def test_a_linear_scale_holds_any_values(values: list[float]) -> None:
    scale = linear_scale(values, 300, 10)
    assert 2 <= len(scale.ticks) <= 9
    assert all(first < second for first, second in zip(scale.ticks, scale.ticks[1:], strict=False))
    places = [scale.position(value) for value in values]
    assert all(math.isfinite(place) and 9.9 <= place <= 300.1 for place in places)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=9))
def test_a_log_scale_holds_any_counts(values: list[int]) -> None:
    scale = log_scale(values, 10, 300)
    assert 2 <= len(scale.ticks) <= 13
    assert all(10 <= scale.position(value) <= 300 for value in [*values, *scale.ticks])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.006, "0.006"),
        (50, "50"),
        (1500, "1.5k"),
        (2e4, "20k"),
        (1.19826e8, "119.8M"),
        (1e9, "1G"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text
