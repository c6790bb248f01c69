"""Tables of several runs: the mean over the seeds of a variant, and the deviation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

FIGURES: Final = ("t2v R@1", "t2v R@5", "t2v R@10", "v2t R@1", "v2t R@5", "v2t R@10")


def mean_table(summaries: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return columns and rows: one a variant, in the order of the runs; percentages on the validation set.

    The deviation is that of the sample, divided by N - 1; a single run has none.
    """
    by_variant: dict[str, list[dict[str, Any]]] = {}
    for summary in summaries:
        by_variant.setdefault(summary["variant"], []).append(summary)
    figures = [name for name in FIGURES if all(name in summary["selected"] for summary in summaries)]
    rows = [
        [
            variant,
            str(runs[0]["num_trained"]),
            str(len(runs)),
            *(mean_and_deviation([run["selected"][name] for run in runs]) for name in figures),
        ]
        for variant, runs in by_variant.items()
    ]
    return ("variant", "trained", "runs", *figures), rows


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return such as "43.1 ± 0.8", or the value alone."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
