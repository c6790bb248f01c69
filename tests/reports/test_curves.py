"""Training curves from the record of a run."""

from __future__ import annotations

import math

from vopcli.reports.curves import training_curves


def line(step: int, kind: str = "train", **values: object) -> dict[str, object]:
    return {"step": step, "kind": kind, **values}


def test_each_value_has_a_chart_and_each_run_a_line() -> None:
    slow = [line(10, loss=3.0, lr=1e-3), line(20, loss=2.0, lr=0.0), line(20, "val", **{"t2v R@1": 31.0})]
    fast = [line(10, loss=2.5, lr=2e-3), line(20, "val", **{"t2v R@1": 41.0})]
    figure = training_curves({0: ("VoP", slow), 3: ("P", fast)})
    assert figure
    assert figure.legend == [("VoP", 0), ("P", 3)]
    assert [chart.title for chart in figure.charts] == [
        "Training loss",
        "Learning rate",
        "t2v R@1 on the validation set (%)",
    ]
    loss, _, recall = figure.charts
    assert [(path.name, path.series, path.points.count(",")) for path in loss.paths] == [
        ("VoP", 0, 2),
        ("P", 3, 1),
    ]
    assert [(mark.title, mark.series) for mark in recall.marks] == [("VoP: 31", 0), ("P: 41", 3)]


def test_rates_far_apart_get_a_log_axis() -> None:
    logs = {0: ("full", [line(1, lr=1e-6), line(9, lr=0.0)]), 1: ("P", [line(1, lr=6e-3), line(9, lr=0.0)])}
    figure = training_curves(logs)
    assert figure
    [chart] = figure.charts
    assert [text for _, text in chart.y_ticks] == ["1e-06", "1e-05", "0.0001", "0.001", "0.01"]


def test_what_is_no_number_is_left_out() -> None:
    odd = [line(1, loss=math.nan), line(2, loss="3"), line(3, loss=10**400), line(10**400, loss=1.0), line(4)]
    assert training_curves({0: ("P", odd)}) is None
    assert training_curves({}) is None
