"""Report on runs and results of `vop eval`: the paper's table and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vopcli.config.choices import DatasetName, TableFormat
from vopcli.evaluation.published import DIRECTIONS
from vopcli.reports.curves import rank_histograms, training_curves
from vopcli.reports.eval_page import query_sections
from vopcli.reports.formats import format_tables
from vopcli.reports.groups import Group, group_runs
from vopcli.reports.html import Page, Section
from vopcli.reports.paper import (
    ablation_figure,
    data_notes,
    paper_section,
    paper_table,
    published,
    recall_figure,
    table_metrics,
)
from vopcli.reports.sources import Sources, check_same_captions, read_sources


@dataclass(frozen=True)
class ReportRequest:
    """Sources and contents of a report.

    Attributes:
        paths: run folders, and files that `vop eval --json` wrote.
        published: benchmark of the published results to compare with; None: that of the runs.
        store: frame store for top results; None: no top results.
        num_queries: captions whose top results are shown.
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
        UsageError: top results are requested, but the sources hold none, or of different captions.
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
    """Build the page: Table 1 and figures 1 and 3 of each benchmark, ranks, training curves, top results.

    Raises:
        DataError: the frame store is damaged, or lacks a video.
    """
    sections: list[Section | None] = []
    facts = []
    for dataset, groups in report.by_dataset:
        name = dataset.value if dataset else "own captions"
        part = f": {name}" if len(report.by_dataset) > 1 else ""
        figures = [recall_figure(groups, dataset), ablation_figure(groups, dataset), rank_histograms(groups)]
        for section in (paper_section(groups, dataset), *figures):
            sections.append(section and replace(section, title=section.title + part))
        facts += [("Data", f"{name}, {note}") for note in data_notes(groups)]
    sections.append(training_curves(group_runs(report.sources.runs)))
    request = report.request
    if request.store:
        sections += query_sections(report.sources.results, request.store, request.num_queries)
    weights = dict.fromkeys(str(item.settings["weights"]) for item in report.sources.measured)
    facts.append(("Weights", ", ".join(weights)))
    return Page("Text-video retrieval: report", facts, [section for section in sections if section])


def format_report(report: Report, kind: TableFormat) -> str:
    """Return the tables of all benchmarks as text."""
    if kind is TableFormat.CSV:
        tables = [
            paper_table(groups, dataset, direction)
            for dataset, groups in report.by_dataset
            for direction in DIRECTIONS
        ]
        return format_tables(tables, [], kind)
    texts = []
    for dataset, groups in report.by_dataset:
        section = paper_section(groups, dataset)
        texts.append(format_tables(section.tables, [*data_notes(groups), *section.notes], kind))
    return "\n".join(texts)


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
