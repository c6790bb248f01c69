"""Training curves from the records of runs, and histograms of ranks, against values by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from tests.reports.test_groups import measured
from tests.support.pages import make_result
from vopcli.config.choices import Variant
from vopcli.reports.curves import rank_histograms, training_curves
from vopcli.reports.groups import MeasuredRun, group_runs
from vopcli.reports.plots import AREA
from vopcli.reports.scales import linear_scale

Log = Sequence[dict[str, Any]]


def line(step: int, kind: str = "train", **values: object) -> dict[str, object]:
    return {"step": step, "kind": kind, **values}


def run(log: Log, seed: int = 0, variant: Variant = Variant.VOP, epochs: int = 2) -> MeasuredRun:
    return measured(40, seed, variant, log=log, num_epochs=epochs)


def test_each_value_has_a_chart_and_each_variant_a_line_over_epochs() -> None:
    slow = [line(10, loss=3.0, lr=1e-3), line(20, loss=2.0, lr=0.0), line(20, "val", **{"t2v R@1": 31.0})]
    fast = [line(10, loss=2.5, lr=2e-3), line(20, "val", **{"t2v R@1": 41.0})]
    section = training_curves(group_runs([run(slow), run(fast, variant=Variant.P)]))
    assert section
    assert section.legend == [("VoP", 0), ("P", 1)]
    assert [chart.title for chart in section.charts] == [
        "Training loss",
        "Learning rate",
        "t2v R@1 on the validation set (%)",
    ]
    loss, _, recall = section.charts
    assert [(path.name, path.series, path.points.count(",")) for path in loss.paths] == [
        ("VoP", 0, 2),
        ("P", 1, 1),
    ]
    assert [(mark.title, mark.series) for mark in recall.marks] == [("VoP: 31", 0), ("P: 41", 1)]
    assert loss.x_label == "epoch"
    ticks = {text: place for place, text in loss.x_ticks}
    assert [float(place.split(",")[0]) for place in loss.paths[0].points.split()] == [ticks["1"], ticks["2"]]


def test_seeds_are_one_line_of_their_mean_in_a_band_of_their_deviation() -> None:
    """Between the steps that a run logs, its values are interpolated."""
    often = [line(step, loss=5.0 - step) for step in (1, 2, 3, 4)]
    seldom = [line(2, loss=5.0), line(4, loss=3.0)]
    section = training_curves(
        group_runs([run(log, seed, epochs=4) for seed, log in enumerate((often, seldom))])
    )
    assert section
    [chart] = section.charts
    [path], [band], [mark] = chart.paths, chart.bands, chart.marks
    assert (mark.title, mark.bar) == ("VoP: 2 ± 1.4", None)
    places = {float(text): place for place, text in chart.x_ticks}
    scale = linear_scale([2.0 - 2**0.5, 4.0 + 2**0.5], AREA.bottom, AREA.top)
    means = [f"{places[epoch]},{scale.position(6.0 - epoch)}" for epoch in (2, 3, 4)]
    assert path.points.split() == means
    upper = [f"{places[epoch]},{scale.position(6.0 - epoch + 2**0.5)}" for epoch in (2, 3, 4)]
    lower = [f"{places[epoch]},{scale.position(6.0 - epoch - 2**0.5)}" for epoch in (4, 3, 2)]
    assert band.points.split() == upper + lower


def test_rates_far_apart_get_a_log_axis() -> None:
    logs = [run([line(1, lr=1e-6), line(9, lr=0.0)], variant=Variant.FULL)]
    logs.append(run([line(1, lr=6e-3), line(9, lr=0.0)], variant=Variant.P))
    section = training_curves(group_runs(logs))
    assert section
    [chart] = section.charts
    assert [text for _, text in chart.y_ticks] == ["1e-06", "1e-05", "0.0001", "0.001", "0.01"]


def test_what_is_no_number_is_left_out() -> None:
    odd = [line(1, loss=math.nan), line(2, loss="3"), line(3, loss=10**400), line(10**400, loss=1.0), line(4)]
    assert training_curves(group_runs([run(odd, variant=Variant.P)])) is None
    assert training_curves([]) is None


def test_bars_are_percents_of_the_queries_and_add_up_to_recalls() -> None:
    ranks = [[1, 1, 1.5, 5, 6, 10, 11, 60, 7, 2], [1, 1, 1, 1, 1, 1, 11, 60, 7, 2]]
    results = [make_result("VoP", 1, row) for row in ranks]
    runs = [measured(40, seed, measured=one.metrics) for seed, one in enumerate(results)]
    section = rank_histograms(group_runs(runs))
    assert section
    chart, _ = section.charts
    titles = [bar.title for bar in chart.bars]
    assert titles == ["VoP: 40 ± 28", "VoP: 20 ± 14", "VoP: 20 ± 14", "VoP: 10", "VoP: 10"]
    assert [text for _, text in chart.x_ticks] == ["1", "2–5", "6–10", "11–50", "51–100"]
    by_hand = [
        100 * sum(low < rank <= high for rank in ranks[1]) / 10 for low, high in ((0, 1), (1, 5), (5, 10))
    ]
    assert by_hand == [60, 10, 10]
    recall = statistics.fmean(one.metrics.t2v.recall_percent[5] for one in results)
    assert sum(float(title.split(": ")[1].split()[0]) for title in titles[:2]) == pytest.approx(recall)
    bottom = {bar.top + bar.height for bar in chart.bars}
    assert max(bottom) - min(bottom) <= 0.2
    assert rank_histograms(group_runs([measured(40, 0)])) is None
