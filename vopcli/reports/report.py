"""Report on runs and results of `vop eval`: the paper's table and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vopcli.config.choices import DatasetName
from vopcli.evaluation.published import DIRECTIONS
from vopcli.reports.answers import NOTES, ShownQuery
from vopcli.reports.curves import training_curves
from vopcli.reports.eval_page import show_first_results
from vopcli.reports.groups import Group, group_runs
from vopcli.reports.html import Page
from vopcli.reports.paper import ablation_figure, paper_table, published, recall_figure, table_metrics
from vopcli.reports.sources import Sources, check_same_captions, read_sources
from vopcli.reports.tables import name_results, name_runs


@dataclass(frozen=True)
class ReportRequest:
    """Sources and contents of a report.

    Attributes:
        paths: run folders, and files that `vop eval --json` wrote.
        published: benchmark of the published results to compare with; None: that of the runs.
        store: frame store for first results; None: no first results.
        num_queries: captions whose first results are shown.
    """

    paths: Sequence[Path]
    published: DatasetName | None
    store: Path | None
    num_queries: int


@dataclass(frozen=True)
class Report:
    """Groups of runs by benchmark, with the sources they were read from."""

    request: ReportRequest
    sources: Sources
    by_dataset: list[tuple[DatasetName | None, list[Group]]]


def report(request: ReportRequest) -> Report:
    """Read the sources and group the runs.

    Raises:
        UsageError: first results are requested, but the sources hold none, or of different captions.
        DataError: a source is missing, damaged or of another kind.
    """
    sources = read_sources(request.paths)
    if request.store:
        check_same_captions(sources.results)
    groups = group_runs(sources.measured)
    if request.published:
        return Report(request, sources, [(request.published, groups)])
    datasets = list(dict.fromkeys(group.first.dataset for group in groups))
    parts = [(dataset, [group for group in groups if group.first.dataset is dataset]) for dataset in datasets]
    return Report(request, sources, parts)


def report_page(report: Report) -> Page:
    """Build the page: Table 1 and figures 1 and 3 of each benchmark, training curves, first results.

    Raises:
        DataError: the frame store is damaged, or lacks a video.
    """
    tables, figures = [], []
    for dataset, groups in report.by_dataset:
        tables += [paper_table(groups, dataset, direction) for direction in DIRECTIONS]
        figures.append(recall_figure(groups, dataset))
        if ablations := ablation_figure(groups, dataset):
            figures.append(ablations)
    runs = report.sources.runs
    names = name_runs([(run.config.tuning.variant.value, str(run.folder)) for run in runs])
    logs = dict(enumerate(zip(names, (run.log for run in runs), strict=True)))
    if curves := training_curves(logs):
        figures.append(curves)
    request, results = report.request, report.sources.results
    queries: list[ShownQuery] = []
    if request.store:
        names = name_results(results)
        queries = show_first_results(results, names, request.store, request.num_queries)
    return Page("Text-video retrieval: report", tables, figures, queries, NOTES)


def report_document(report: Report) -> list[dict[str, Any]]:
    """Return a JSON document for each group: settings, and mean, deviation and published value by metric."""
    return [_group_document(group, dataset) for dataset, groups in report.by_dataset for group in groups]


def _group_document(group: Group, dataset: DatasetName | None) -> dict[str, Any]:
    first = group.first
    metrics = {
        direction: {
            name: {
                "mean": group.mean(direction, name),
                "deviation": group.deviation(direction, name) if len(group.members) > 1 else None,
                "published": published(dataset, first.tuning, direction, name),
            }
            for name in table_metrics([group])
        }
        for direction in DIRECTIONS
    }
    return {
        "label": group.label,
        "variant": first.tuning.variant.value,
        "dataset": dataset.value if dataset else None,
        "measured_on": first.on,
        "settings": dict(first.settings),
        "num_trained": first.num_trained,
        "runs": [member.name for member in group.members],
        **metrics,
    }
