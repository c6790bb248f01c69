"""Training curves over epochs, and histograms of ranks, with means and deviations over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.evaluation.published import DIRECTIONS
from vopcli.reports.groups import Group, MeasuredRun
from vopcli.reports.html import Section
from vopcli.reports.plots import Chart, Line, Point, histogram, line_chart

# kind of a log line, key, heading
_CURVES: Final = (
    ("train", "loss", "Training loss"),
    ("train", "lr", "Learning rate"),
    ("val", "t2v R@1", "t2v R@1 on the validation set (%)"),
)
_FAR_APART: Final = 20.0  # with a larger ratio of peaks, the lower curve would look flat on a linear axis
_LARGEST: Final = 1e100  # JSON integers may exceed the range of floats
_RANK_ENDS: Final = (1, 5, 10, 50, 100)  # highest ranks of the bars, which add up to R@1, R@5 and R@10


def training_curves(groups: Sequence[Group]) -> Section | None:
    """Draw the training curves of groups of runs, each a mean; None if their logs are empty."""
    lines = {
        key: [
            Line(group.label, _points(group, kind, key), group.series, is_marked=kind == "val")
            for group in groups
        ]
        for kind, key, _ in _CURVES
    }
    charts = [
        _chart(title, lines[key]) for _, key, title in _CURVES if any(line.points for line in lines[key])
    ]
    legend = [(group.label, group.series) for group in groups if group.first.log]
    has_seeds = any(len(group.members) > 1 for group in groups)
    notes = ["Lines are means over the seeds, bands ± the standard deviation."] if has_seeds else []
    return Section("Training", charts=charts, legend=legend, notes=notes) if charts else None


def _points(group: Group, kind: str, key: str) -> list[Point]:
    """Return the mean of a value by epoch, interpolated between the steps that a run logs."""
    rows = [_by_epoch(member, kind, key) for member in group.members]
    if not all(rows):
        return []
    first, last = max(map(min, rows)), min(map(max, rows))
    epochs = sorted({epoch for row in rows for epoch in row if first <= epoch <= last})
    values = [np.interp(epochs, list(row), list(row.values())).tolist() for row in rows]
    return [
        _mean_point(group, epoch, one) for epoch, one in zip(epochs, zip(*values, strict=True), strict=True)
    ]


def _by_epoch(run: MeasuredRun, kind: str, key: str) -> dict[float, float]:
    """Return a value of the log by epoch, ascending; the last step ends the last epoch."""
    steps = [line["step"] for line in run.log if _is_number(line["step"])]
    scale = run.num_epochs / max([1, *steps])
    return {
        line["step"] * scale: float(line[key])
        for line in sorted(run.log, key=lambda line: line["step"])
        if line["kind"] == kind and _is_number(line.get(key)) and _is_number(line["step"])
    }


def _mean_point(group: Group, x: float, values: Sequence[float]) -> Point:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Point(x, statistics.fmean(values), group.label, deviation, group.series)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST


def _chart(title: str, lines: Sequence[Line]) -> Chart:
    peaks = [peak for line in lines if (peak := max((point.y for point in line.points), default=0)) > 0]
    is_wide = bool(peaks) and max(peaks) / min(peaks) > _FAR_APART
    return line_chart(title, lines, x_label="epoch", y_label="", has_log_y=is_wide)


def rank_histograms(groups: Sequence[Group]) -> Section | None:
    """Draw the number of queries by the rank of their right answer; None if the ranks are unknown."""
    known = [group for group in groups if all(member.measured for member in group.members)]
    if not known:
        return None
    charts = [_histogram(known, direction) for direction in DIRECTIONS]
    notes = ["The first bars add up to R@1, R@5 and R@10."]
    return Section(
        "Ranks of the right answer", charts=charts, legend=[(g.label, g.series) for g in known], notes=notes
    )


def _histogram(groups: Sequence[Group], direction: str) -> Chart:
    ends = [*_RANK_ENDS, _LARGEST]
    names = ["1", *(f"{low + 1}–{high}" for low, high in pairwise(_RANK_ENDS)), f">{_RANK_ENDS[-1]}"]
    rows = []
    for group in groups:
        percents = [
            _percents(member.measured.by_direction[direction].ranks, ends)
            for member in group.members
            if member.measured
        ]
        rows.append([_mean_point(group, 0, values) for values in zip(*percents, strict=True)])
    last = max(number for row in rows for number, point in enumerate(row) if point.y) + 1
    return histogram(
        f"{direction}: percent of the queries by rank",
        names[:last],
        [row[:last] for row in rows],
        x_label="rank of the right answer",
        y_label="queries (%)",
    )


def _percents(ranks: NDArray[np.float64], ends: Sequence[float]) -> list[float]:
    within = [0.0, *(100 * float((ranks <= end).mean()) for end in ends)]
    return [high - low for low, high in pairwise(within)]
