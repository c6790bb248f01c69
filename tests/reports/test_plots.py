"""Charts: places in pixels that can be computed by hand or must hold for any values."""

from __future__ import annotations

import math

import pytest

from vopcli.reports.plots import AREA, Line, Point, line_chart, scatter


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
