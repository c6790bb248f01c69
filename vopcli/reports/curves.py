"""Training curves: loss, learning rate and validation recall by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vopcli.reports.html import Figure
from vopcli.reports.plots import Chart, Line, Point, line_chart

# kind of a log line, key, heading
_CURVES: Final = (
    ("train", "loss", "Training loss"),
    ("train", "lr", "Learning rate"),
    ("val", "t2v R@1", "t2v R@1 on the validation set (%)"),
)
_FAR_APART: Final = 20.0  # with a larger ratio of peaks, the lower curve would look flat on a linear axis
_LARGEST: Final = 1e100  # JSON integers may exceed the range of floats

Log = Sequence[Mapping[str, Any]]


def training_curves(logs: Mapping[int, tuple[str, Log]]) -> Figure | None:
    """Draw the logs of some runs; None if they are empty.

    Args:
        logs: by series, name and lines of each run, each line with "step" and "kind".
    """
    lines = {
        key: [
            Line(name, _points(name, series, log, kind, key), series, is_marked=kind == "val")
            for series, (name, log) in logs.items()
        ]
        for kind, key, _ in _CURVES
    }
    charts = [
        _chart(title, lines[key]) for _, key, title in _CURVES if any(line.points for line in lines[key])
    ]
    if not charts:
        return None
    return Figure("Training", charts, legend=[(name, series) for series, (name, _) in logs.items()])


def _points(name: str, series: int, log: Log, kind: str, key: str) -> list[Point]:
    lines = [
        line
        for line in log
        if line["kind"] == kind and _is_number(line.get(key)) and _is_number(line["step"])
    ]
    return [Point(line["step"], line[key], name, series=series) for line in lines]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST


def _chart(title: str, lines: Sequence[Line]) -> Chart:
    peaks = [peak for line in lines if (peak := max((point.y for point in line.points), default=0)) > 0]
    is_wide = bool(peaks) and max(peaks) / min(peaks) > _FAR_APART
    return line_chart(title, lines, x_label="step", y_label="", has_log_y=is_wide)
