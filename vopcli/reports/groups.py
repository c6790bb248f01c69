"""Groups of runs that differ in the seed only, with the mean and deviation of their metrics."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vopcli.config.choices import DatasetName, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import DataError
from vopcli.evaluation.published import DIRECTIONS

if TYPE_CHECKING:  # load NumPy, the command line does not
    from vopcli.evaluation.bootstrap import Interval
    from vopcli.evaluation.metrics import RetrievalMetrics

_STEP: Final = 24  # from a series to one of the same colour, with another shape and shade
RECALLS: Final = tuple(f"{direction} R@{depth}" for direction in DIRECTIONS for depth in (1, 5, 10))


@dataclass(frozen=True)
class MeasuredRun:
    """A model with its metrics on one split.

    Attributes:
        name: of the run folder or adapter file.
        tuning: the variant and its settings.
        settings: that identify the run, with the variant and the seed, by name.
        seed: of the run; None if unknown.
        num_trained: trained parameters.
        on: the data it was measured on, in words.
        data: a hash of that data.
        is_evaluated: by `vop eval`; False for metrics on the validation set that the epoch was selected on.
        dataset: the benchmark; None for other data.
        metrics: by direction and name, such as ("t2v", "R@1"); percentages and ranks.
        intervals: of the recalls, by direction and name; empty if unknown.
        measured: the metrics with the ranks of all queries; None if unknown.
        log: lines of the training log.
        num_epochs: that the log covers.
    """

    name: str
    tuning: TuningConfig
    settings: Mapping[str, Any]
    seed: int | None
    num_trained: int
    on: str
    data: str
    is_evaluated: bool
    dataset: DatasetName | None
    metrics: Mapping[tuple[str, str], float]
    intervals: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    measured: RetrievalMetrics | None = None
    log: Sequence[Mapping[str, Any]] = ()
    num_epochs: int = 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """Key that is equal for runs that differ in the seed only."""
        return self.tuning.variant, self.dataset, self.on, tuple(sorted(self.settings.items(), key=str))


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed only.

    Attributes:
        label: the variant, and settings that are not the default or differ between groups of that variant.
        members: the runs.
        series: index of colour and shape in charts: the same colour for all groups of a variant.
    """

    label: str
    members: Sequence[MeasuredRun]
    series: int = 0

    @property
    def first(self) -> MeasuredRun:
        """The first run, for the settings that all share."""
        return self.members[0]

    def values(self, direction: str, name: str) -> list[float]:
        """Return a metric of each run; empty unless all have it."""
        found = [
            member.metrics[direction, name] for member in self.members if (direction, name) in member.metrics
        ]
        return found if len(found) == len(self.members) else []

    def texts(self, direction: str, name: str) -> tuple[str, str]:
        """Return a metric and its spread, such as "43.1" and "± 0.8"; empty if there is none.

        The spread of a single run is its bootstrap interval, such as "40.1–46.0".
        """
        values = self.values(direction, name)
        if interval := self.first.intervals.get((direction, name)) if len(values) == 1 else None:
            return f"{values[0]:.1f}", format_interval(interval)
        mean, _, deviation = mean_and_deviation(values).partition(" ") if values else ("", "", "")
        return mean, deviation

    def mean(self, direction: str, name: str) -> float | None:
        """Return the mean of a metric."""
        values = self.values(direction, name)
        return statistics.fmean(values) if values else None

    def deviation(self, direction: str, name: str) -> float:
        """Return the sample standard deviation of a metric; 0 for a single run."""
        values = self.values(direction, name)
        return statistics.stdev(values) if len(values) > 1 else 0.0


def group_runs(measured: Sequence[MeasuredRun]) -> list[Group]:
    """Group runs that differ in the seed only, in the paper's order of variants, then in the given order.

    Metrics of `vop eval` replace the validation metrics of the same run.

    Raises:
        DataError: a run is listed twice with different metrics.
    """
    evaluated = {_run_key(item) for item in measured if item.is_evaluated}
    kept = [item for item in measured if item.is_evaluated or _run_key(item) not in evaluated]
    by_kind: dict[tuple[Any, ...], dict[tuple[str, int | None], MeasuredRun]] = {}
    for item in kept:
        same = by_kind.setdefault(item.kind, {}).setdefault((item.name, item.seed), item)
        if same.metrics != item.metrics:
            raise DataError(
                f"{item.name} is listed twice, with different metrics on {item.on}",
                hint="leave out the file that was written earlier",
            )
    order = list(Variant)
    together = sorted(
        by_kind.values(), key=lambda same: order.index(next(iter(same.values())).tuning.variant)
    )
    members = [list(same.values()) for same in together]
    return [
        Group(_label(same[0], members), same, _series(number, members)) for number, same in enumerate(members)
    ]


def variant_series(variant: Variant, number: int = 0) -> int:
    """Return the series of a variant in all charts; ``number`` sets the shape, for several groups of it."""
    order = list(Variant)
    shift = order.index(Variant.VOP)  # the prompts have the first colours; the baselines repeat some of them
    return (order.index(variant) - shift) % len(order) + _STEP * number


def _series(number: int, members: Sequence[Sequence[MeasuredRun]]) -> int:
    variant = members[number][0].tuning.variant
    return variant_series(variant, sum(same[0].tuning.variant is variant for same in members[:number]))


def _run_key(item: MeasuredRun) -> tuple[Any, ...]:
    return item.tuning.variant, item.seed, tuple(sorted(item.settings.items(), key=str))


def _label(item: MeasuredRun, groups: Sequence[Sequence[MeasuredRun]]) -> str:
    variant, usual = item.tuning.variant, asdict(TuningConfig())
    others = [same[0].settings for same in groups if same[0].tuning.variant is variant]
    different = [
        name
        for name, value in item.settings.items()
        if usual.get(name, value) != value or any(other.get(name, value) != value for other in others)
    ]
    return ", ".join([variant.value, *(f"{name} {item.settings[name]}" for name in different)])


def mean_table(
    runs: Sequence[tuple[str, int, Mapping[str, float]]],
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return columns and rows: one for each variant, in the order of the runs, with mean and deviation.

    Args:
        runs: variant, number of trained parameters, and metrics on the validation set.
    """
    by_variant: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for variant, num_trained, metrics in runs:
        by_variant.setdefault(variant, []).append((num_trained, metrics))
    names = [name for name in RECALLS if all(name in metrics for _, _, metrics in runs)]
    rows = [
        [
            variant,
            str(group[0][0]),
            str(len(group)),
            *(mean_and_deviation([metrics[name] for _, metrics in group]) for name in names),
        ]
        for variant, group in by_variant.items()
    ]
    return ("variant", "trained", "runs", *names), rows


def format_interval(interval: Interval) -> str:
    """Format the ends of an interval as "40.1–46.0"."""
    return f"{interval.low:.1f}–{interval.high:.1f}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Format values as "43.1 ± 0.8"; a single value without a deviation."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
