"""Search a learning rate on the validation set: one run per rate, and a table of all rates."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from vopcli.config.load import override
from vopcli.config.schema import Config
from vopcli.errors import FileError, UsageError, format_value
from vopcli.files.atomic import atomic_path
from vopcli.training.summary import TrainSummary

TABLE_NAME: Final = "learning_rates.csv"
_METRICS: Final = ("t2v R@1", "v2t R@1")
_LOWEST: Final = 1e-9


def parse_rates(text: str) -> list[float]:
    """Return the rates of a range such as ``1e-6:1e-2``: 1 and 3 times each power of ten within it.

    Raises:
        UsageError: ``text`` is not a range of learning rates.

    Examples:
        >>> parse_rates("1e-3:1e-2")
        [0.001, 0.003, 0.01]
    """
    low, _, high = text.partition(":")
    try:
        first, last = float(low), float(high)
    except ValueError:
        first = last = math.nan
    if not _LOWEST <= first <= last <= 1:
        raise UsageError(
            f"--search-lr {format_value(text)} is not a range of learning rates",
            hint="write it like --search-lr 1e-6:1e-2",
        )
    powers = range(math.floor(math.log10(first)) - 1, math.ceil(math.log10(last)) + 1)
    rates = [float(f"{digit}e{power}") for power in powers for digit in (1, 3)]
    chosen = [rate for rate in rates if first <= rate <= last]
    return chosen or [first]


def with_rates(config: Config, rates: Sequence[float]) -> list[Config]:
    """Return the settings of one run per rate, each in a folder ``lr-RATE`` below the output folder."""
    output = Path(config.training.output)
    return [
        override(config, {"training.lr": rate, "training.output": str(output / f"lr-{rate:g}")})
        for rate in rates
    ]


def rate_table(runs: Sequence[TrainSummary]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return columns and rows, one row per variant and rate: means over the seeds, the best rate marked."""
    best, means = best_rates(runs), _means(runs)  # no rate is best if each diverged for a seed
    marks = dict.fromkeys(best.items(), "best")
    rows = [
        [variant, f"{rate:g}", *(f"{value:.1f}" for value in values), marks.get((variant, rate), "")]
        for (variant, rate), values in means.items()
    ]
    return ("variant", "lr", *_METRICS, ""), rows


def best_rates(runs: Sequence[TrainSummary]) -> dict[str, float]:
    """Return the best rate of each variant, of those that did not diverge for any seed.

    It has the highest mean of t2v and v2t R@1 on the validation set; of equals, the lowest rate is the best.
    """
    num_seeds = Counter((run.plan.variant, run.plan.lr) for run in runs)
    most = max(num_seeds.values(), default=0)
    best: dict[str, tuple[float, float]] = {}  # by variant: sum of the metrics, rate
    for (variant, rate), values in sorted(_means(runs).items()):
        if num_seeds[variant, rate] < most:
            continue
        if variant not in best or sum(values) > best[variant][0]:
            best[variant] = (sum(values), rate)
    return {variant: rate for variant, (_, rate) in best.items()}


def note_ends(runs: Sequence[TrainSummary], rates: Collection[float]) -> list[str]:
    """Return a note for each variant whose best rate is the lowest or highest of those that were searched."""
    ends = {min(rates): "lowest", max(rates): "highest"}
    return [
        f"{variant}: the best learning rate, {rate:g}, is the {ends[rate]} of the range; search a wider one"
        for variant, rate in best_rates(runs).items()
        if rate in ends and len(ends) > 1
    ]


def write_table(output: Path, runs: Sequence[TrainSummary]) -> None:
    """Write one line per run to ``learning_rates.csv`` in the output folder.

    Raises:
        FileError: the file cannot be written.
    """
    path = output / TABLE_NAME
    try:
        with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["variant", "seed", "lr", *_METRICS, "epoch", "folder"])
            for run in runs:
                metrics = [run.selected.metrics[name] for name in _METRICS]
                row = [run.plan.variant, run.seed, run.plan.lr, *metrics, run.selected.epoch + 1]
                writer.writerow([*row, run.plan.folder])
    except OSError as error:
        raise FileError(path, error) from error


def _means(runs: Sequence[TrainSummary]) -> dict[tuple[str, float], list[float]]:
    groups: dict[tuple[str, float], list[TrainSummary]] = {}
    for run in runs:
        groups.setdefault((run.plan.variant, run.plan.lr), []).append(run)
    return {
        key: [sum(run.selected.metrics[name] for run in group) / len(group) for name in _METRICS]
        for key, group in groups.items()
    }
