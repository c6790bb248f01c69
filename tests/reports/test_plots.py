"""Charts: places in pixels that can be computed by hand or must hold for any values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.reports.plots import AREA, Line, Point, line_chart, scatter
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


def test_nothing_trained_stands_apart_at_the_left() -> None:
    chart = scatter("", [Point(0, 20, "zero-shot"), Point(1000, 30, "VoP")], x_label="", y_label="")
    zero, other = chart.marks
    assert zero.x < chart.break_x < chart.x_ticks[1][0] <= other.x
    assert [text for _, text in chart.x_ticks] == ["0", "1k", "2k"]
    assert chart.x_ticks[0][0] == zero.x
    assert zero.y > other.y, "higher is better, and pixels count from the top"
    assert scatter("", [Point(1000, 30, "VoP")], x_label="", y_label="").break_x is None
    alone = scatter("", [Point(0, 20, "zero-shot")], x_label="", y_label="")
    assert ([text for _, text in alone.x_ticks], alone.break_x) == (["0"], None)


def test_the_end_of_a_line_has_its_shape() -> None:
    lines = [Line("", [Point(step, step, series=i) for step in (1, 2, 3)], i) for i in (4, 7)]
    chart = line_chart("", lines, x_label="", y_label="")
    ends = [path.points.split()[-1] for path in chart.paths]
    assert [(f"{mark.x},{mark.y}", mark.series) for mark in chart.marks] == [(ends[0], 4), (ends[1], 7)]


def test_a_deviation_is_a_bar_around_its_point() -> None:
    chart = scatter("", [Point(10, 20, "a", deviation=2.0), Point(20, 20, "b")], x_label="", y_label="")
    with_bar, without = chart.marks
    assert with_bar.bar[0] > with_bar.y > with_bar.bar[1]
    assert with_bar.y - with_bar.bar[1] == pytest.approx(with_bar.bar[0] - with_bar.y, abs=0.2)
    assert without.bar is None
    assert with_bar.title == "a: 20 ± 2"


def test_what_is_not_finite_is_not_drawn() -> None:
    nan, infinite = Point(1, math.nan, "a"), Point(math.inf, 1, "b")
    good = [Point(1, 1, "c"), Point(2, 3, "c")]
    assert len(scatter("", [nan, infinite, *good], x_label="", y_label="").marks) == 2
    chart = line_chart("", [Line("a", [nan, infinite, *good], 0)], x_label="", y_label="")
    middle = (AREA.left + AREA.right) / 2  # of an axis from 0 to 2
    assert chart.paths[0].points == f"{middle},{AREA.bottom:.1f} {AREA.right:.1f},{AREA.top:.1f}"


def test_a_long_line_keeps_its_ends() -> None:
    points = [Point(step, step % 7) for step in range(10_000)]
    drawn = line_chart("", [Line("a", points, 0)], x_label="", y_label="").paths[0].points.split()
    assert len(drawn) == 300
    assert [float(place.split(",")[0]) for place in (drawn[0], drawn[-1])] == [AREA.left, AREA.right - 0.1]


def test_categories_are_equally_far_apart() -> None:
    points = [Point(i, 10 * i, "VoP") for i in range(3)]
    chart = line_chart(
        "",
        [Line("VoP", points, 0, is_marked=True)],
        x_label="",
        y_label="",
        categories=["text", "visual", "both"],
    )
    assert [text for _, text in chart.x_ticks] == ["text", "visual", "both"]
    assert [mark.x for mark in chart.marks] == [place for place, _ in chart.x_ticks]
    gaps = [second - first for (first, _), (second, _) in zip(chart.x_ticks, chart.x_ticks[1:], strict=False)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.2)
    assert AREA.left < chart.x_ticks[0][0]
    assert chart.x_ticks[-1][0] < AREA.right


def test_rates_far_apart_get_a_log_axis_without_zeros() -> None:
    points = [Point(0, 0.0), Point(1, 1e-6), Point(2, 1e-2)]
    chart = line_chart("", [Line("a", points, 0)], x_label="", y_label="", has_log_y=True)
    assert len(chart.paths[0].points.split()) == 2
    assert [text for _, text in chart.y_ticks] == ["1e-06", "1e-05", "0.0001", "0.001", "0.01"]
