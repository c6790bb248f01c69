"""Charts as coordinates, in pixels from the top left corner; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vopcli.reports.scales import Scale, linear_scale, log_scale, short_number


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, from the top left corner of the chart."""

    left: float
    top: float
    right: float
    bottom: float


WIDTH: Final = 680
HEIGHT: Final = 400
AREA: Final = Box(70, 14, WIDTH - 24, HEIGHT - 48)
_ZERO_PX: Final = 38  # from the left end: position of zero on a log scale
_BREAK_PX: Final = 96  # from the left end: start of the log scale beside a zero
_MOST_POINTS: Final = 300  # of a line: more are not distinguishable
_FILLED: Final = 0.8  # fraction of a category that its bars fill
_HALF_CATEGORY: Final = 0.5  # space on each side of a category's tick, in categories


@dataclass(frozen=True)
class Point:
    """A data point.

    Attributes:
        x: on the horizontal axis.
        y: on the vertical one.
        name: for the tooltip.
        deviation: half the length of the error bar; 0 for no bar.
        series: index of colour and shape.
        is_hollow: only the outline is drawn.
    """

    x: float
    y: float
    name: str = ""
    deviation: float = 0.0
    series: int = 0
    is_hollow: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether it can be drawn."""
        return math.isfinite(self.x) and math.isfinite(self.y) and math.isfinite(self.deviation)


@dataclass(frozen=True)
class Line:
    """Points joined by a line within a band of their deviations; ``series`` decides colour and dashes.

    The last point is shown by the shape of the series; with ``is_marked`` each one.
    """

    name: str
    points: Sequence[Point]
    series: int
    is_marked: bool = False


@dataclass(frozen=True)
class Mark:
    """A point in pixels."""

    x: float
    y: float
    title: str
    series: int
    bar: tuple[float, float] | None
    is_hollow: bool


@dataclass(frozen=True)
class Path:
    """A line in pixels: ``points`` is the attribute of an SVG polyline."""

    name: str
    points: str
    series: int


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram in pixels, with the ends of its error bar."""

    left: float
    top: float
    width: float
    height: float
    title: str
    series: int
    bar: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """A chart in pixels, as the template draws it.

    Attributes:
        title: heading.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        x_ticks: positions and texts.
        y_ticks: positions and texts.
        marks: points.
        paths: lines.
        bands: polygons around lines.
        bars: of a histogram.
        break_x: position of the axis break between zero and the log scale; None for no break.
        area: of the values.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[Mark] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    bands: list[Path] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    break_x: float | None = None
    area: Box = AREA


def scatter(title: str, points: Sequence[Point], *, x_label: str, y_label: str) -> Chart:
    """Draw points on a log scale; those at x = 0 stand left of an axis break."""
    drawn = [point for point in points if point.is_finite and point.x >= 0]
    has_zero = any(point.x == 0 for point in drawn)
    above_zero = [point.x for point in drawn if point.x > 0]
    start = AREA.left + (_BREAK_PX if has_zero else 12)
    x_scale = log_scale(above_zero, start, AREA.right)
    y_scale = _y_scale(drawn)
    zero = AREA.left + _ZERO_PX
    break_x = AREA.left + 2 * _ZERO_PX if has_zero and above_zero else None
    marks = [_mark(point, x_scale.position(point.x) if point.x else zero, y_scale) for point in drawn]
    x_ticks = _ticks(x_scale) if above_zero else []
    if has_zero:
        x_ticks.insert(0, (zero, "0"))
    return Chart(title, x_label, y_label, x_ticks, _ticks(y_scale), marks, break_x=break_x)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    categories: Sequence[str] = (),
    has_log_y: bool = False,
) -> Chart:
    """Draw lines; with ``categories``, x is an index into these, and they are equally spaced.

    Deviations are error bars of categories, and bands around other lines.
    """
    drawn = [
        (line, _thinned([p for p in line.points if p.is_finite and (p.y > 0 or not has_log_y)]))
        for line in lines
    ]
    every = [point for _, points in drawn for point in points]
    if categories:
        x_scale, x_ticks = _category_scale(categories)
    else:
        x_scale = linear_scale([0.0, *(point.x for point in every)], AREA.left, AREA.right)
        x_ticks = _ticks(x_scale)
    y_scale = log_scale([p.y for p in every], AREA.bottom, AREA.top) if has_log_y else _y_scale(every)
    bands = [] if categories else [_band(line, points, x_scale, y_scale) for line, points in drawn]
    marks = [
        _mark(point, x_scale.position(point.x), y_scale, has_bar=bool(categories))
        for line, points in drawn
        for point in points
        if line.is_marked or point is points[-1]
    ]
    paths = [
        Path(line.name, _joined([(p.x, p.y) for p in points], x_scale, y_scale), line.series)
        for line, points in drawn
    ]
    bands = [band for band in bands if band.points]
    return Chart(title, x_label, y_label, x_ticks, _ticks(y_scale), marks, paths, bands)


def histogram(
    title: str, categories: Sequence[str], rows: Sequence[Sequence[Point]], *, x_label: str, y_label: str
) -> Chart:
    """Draw bars side by side in each category.

    Args:
        title: heading.
        categories: below the bars.
        rows: one point of each category for each series; ``x`` is not used.
        x_label: of the categories.
        y_label: of the values.
    """
    x_scale, x_ticks = _category_scale(categories)
    y_scale = linear_scale(
        [0.0, *(p.y + p.deviation for points in rows for p in points)], AREA.bottom, AREA.top
    )
    step = (AREA.right - AREA.left) / max(len(categories), 1)
    width = round(_FILLED * step / max(len(rows), 1), 1)
    bars = []
    for number, points in enumerate(rows):
        for category, point in enumerate(points):
            left = x_scale.position(category) + width * (number - len(rows) / 2)
            mark = _mark(point, left + width / 2, y_scale)
            place = (round(left, 1), mark.y, width, round(AREA.bottom - mark.y, 1))
            bars.append(Bar(*place, mark.title, point.series, mark.bar))
    return Chart(title, x_label, y_label, x_ticks, _ticks(y_scale), bars=bars)


def _category_scale(categories: Sequence[str]) -> tuple[Scale, list[tuple[float, str]]]:
    last = len(categories) - _HALF_CATEGORY
    values = tuple(map(float, range(len(categories))))
    scale = Scale(-_HALF_CATEGORY, last, AREA.left, AREA.right, values)
    return scale, [(scale.position(i), name) for i, name in enumerate(categories)]


def _band(line: Line, points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> Path:
    """Return the polygon between the points plus and minus their deviations; empty without deviations."""
    if not any(point.deviation for point in points):
        return Path(line.name, "", line.series)
    ends = [(point.x, point.y + point.deviation) for point in points]
    ends += [(point.x, max(point.y - point.deviation, y_scale.low)) for point in reversed(points)]
    return Path(f"{line.name} ±", _joined(ends, x_scale, y_scale), line.series)


def _joined(places: Sequence[tuple[float, float]], x_scale: Scale, y_scale: Scale) -> str:
    return " ".join(f"{x_scale.position(x)},{y_scale.position(y)}" for x, y in places)


def _y_scale(points: Sequence[Point]) -> Scale:
    ends = [point.y + sign * point.deviation for point in points for sign in (-1, 1)]
    return linear_scale(ends, AREA.bottom, AREA.top)


def _mark(point: Point, x: float, y_scale: Scale, *, has_bar: bool = True) -> Mark:
    bar = None
    title = f"{point.name}: {point.y:.4g}"
    if point.deviation and has_bar:
        bar = y_scale.position(point.y - point.deviation), y_scale.position(point.y + point.deviation)
    if point.deviation:
        title += f" ± {point.deviation:.2g}"
    return Mark(x, y_scale.position(point.y), title, point.series, bar, point.is_hollow)


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    return [(scale.position(value), short_number(value)) for value in scale.ticks]


def _thinned(points: list[Point]) -> list[Point]:
    """Return evenly spaced points of a list, including the first and the last."""
    if len(points) <= _MOST_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS)]
