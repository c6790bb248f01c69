"""Put runs and results of `vop eval` together into the paper's table and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vopcli.config.choices import DatasetName
from vopcli.evaluation.published import DIRECTIONS, METRICS
from vopcli.reports.answers import NOTES, Query
from vopcli.reports.curves import training_curves
from vopcli.reports.eval_page import show_first_results
from vopcli.reports.groups import Group, group_runs
from vopcli.reports.html import Page
from vopcli.reports.paper import ablation_figure, paper_table, published, recall_figure
from vopcli.reports.sources import Sources, check_same_captions, read_sources
from vopcli.reports.tables import name_results, name_runs


@dataclass(frozen=True)
class ReportRequest:
    """What to report on.

    Attributes:
        paths: run folders, and files that `vop eval --json` wrote.
        published: the benchmark whose published figures stand beside; None is the runs' own.
        store: frames for first results; None shows none.
        num_queries: captions whose first results are shown.
    """

    paths: Sequence[Path]
    published: DatasetName | None
    store: Path | None
    num_queries: int


@dataclass(frozen=True)
class Report:
    """Runs by benchmark, those that differ in the seed only together, and what they were read from."""

    request: ReportRequest
    sources: Sources
    by_dataset: list[tuple[DatasetName | None, list[Group]]]


def report(request: ReportRequest) -> Report:
    """Read the runs and put them into groups.

    Raises:
        UsageError: single captions are wanted of what has none.
        DataError: a source is missing, damaged or something else.
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
        DataError: the frame store is damaged, or lacks a video that was found.
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
    queries: list[Query] = []
    if request.store:
        names = name_results(results)
        queries = show_first_results(results, names, request.store, request.num_queries)
    return Page("Text-video retrieval: report", tables, figures, queries, NOTES)


def report_document(report: Report) -> list[dict[str, Any]]:
    """Return a JSON document for each group: settings, mean, deviation and published figure."""
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
            for name in METRICS
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
