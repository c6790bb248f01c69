"""Runs that differ in the seed only are one row; means and deviations by hand."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from vopcli.config.choices import Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import DataError
from vopcli.evaluation.bootstrap import Interval
from vopcli.reports.groups import MeasuredRun, group_runs, variant_series


def measured(recall: float, seed: int | None, variant: Variant = Variant.VOP, **changes: Any) -> MeasuredRun:
    values: dict[str, Any] = {
        "name": f"{variant.value}-seed{seed}",
        "tuning": TuningConfig(variant=variant, sides=changes.pop("sides", Sides.BOTH)),
        "settings": changes.pop("settings", {}),
        "seed": seed,
        "num_trained": 100,
        "on": "test: 9 queries",
        "data": "0" * 8,
        "is_evaluated": True,
        "dataset": None,
        "metrics": {("t2v", "R@1"): recall},
        **changes,
    }
    return MeasuredRun(**values)


def test_seeds_are_averaged() -> None:
    values = [40.0, 43.0, 41.0]
    [group] = group_runs([measured(value, seed) for seed, value in enumerate(values)])
    assert group.label == "VoP"
    assert group.mean("t2v", "R@1") == pytest.approx(statistics.fmean(values))
    assert group.deviation("t2v", "R@1") == pytest.approx(statistics.stdev(values))
    assert group.texts("t2v", "R@1") == ("41.3", "± 1.5")
    assert (group.texts("v2t", "R@1"), group.mean("v2t", "R@1")) == (("", ""), None)
    [single] = group_runs([measured(40.0, 0)])
    assert (single.texts("t2v", "R@1"), single.deviation("t2v", "R@1")) == (("40.0", ""), 0.0)
    known = measured(40.0, 0, intervals={("t2v", "R@1"): Interval(40.0, 37.04, 43.0)})
    [single] = group_runs([known])
    assert single.texts("t2v", "R@1") == ("40.0", "37.0–43.0")
    [group] = group_runs([known, measured(42.0, 1)])
    assert group.texts("t2v", "R@1") == ("41.0", "± 1.4"), "over seeds, the deviation"


def test_other_settings_are_other_groups_and_the_label_says_which() -> None:
    groups = group_runs(
        [
            measured(1, 0, Variant.F, settings={"epochs": 5, "split_layer": 8}),
            measured(2, 0, settings={"epochs": 5, "sides": "text"}),
            measured(3, 0, settings={"epochs": 5, "sides": "both"}),
            measured(4, 1, settings={"epochs": 5, "sides": "text"}),
            measured(5, 0, Variant.P_F, settings={"split_layer": 2, "sides": "both"}),
        ]
    )
    assert [(group.label, len(group.members)) for group in groups] == [
        ("VoP, sides text", 2),
        ("VoP, sides both", 1),
        ("F", 1),
        ("P+F, split_layer 2", 1),
    ]


def test_what_eval_measured_takes_the_place_of_the_validation_metrics() -> None:
    run = measured(90, 0, on="validation: held out", is_evaluated=False)
    other_seed = measured(80, 1, on="validation: held out", is_evaluated=False)
    groups = group_runs([run, other_seed, measured(40, 0)])
    assert [[member.metrics["t2v", "R@1"] for member in group.members] for group in groups] == [[80], [40]]


def test_a_run_named_twice_counts_once() -> None:
    [group] = group_runs([measured(40, 0), measured(40, 0)])
    assert len(group.members) == 1
    with pytest.raises(DataError, match="VoP-seed0 is listed twice, with different metrics on test: 9"):
        group_runs([measured(40, 0), measured(41, 0)])


def test_groups_of_a_variant_share_their_colour_and_variants_of_the_paper_differ() -> None:
    groups = group_runs(
        [
            measured(1, 0, settings={"sides": "text"}),
            measured(2, 0, settings={"sides": "both"}),
            measured(3, 0, Variant.C_F),
        ]
    )
    first, second, other = (group.series for group in groups)
    assert first != second
    assert first % 8 == second % 8 != other % 8
    assert len({variant_series(variant) for variant in Variant}) == len(Variant)
