"""The paper's Table 1 and figures 1 and 3 for the user's runs, beside the published results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vopcli.config.choices import ContextModule, DatasetName, Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.evaluation.published import METRICS, SENTENCE_METRICS, SOURCE, published_metrics
from vopcli.methods.registry import METHODS
from vopcli.reports.groups import Group, variant_series
from vopcli.reports.html import Section
from vopcli.reports.plots import Chart, Line, Point, line_chart, scatter
from vopcli.reports.tables import (
    DIRECTION_TITLES,
    INTERVALS_NOTE,
    METRICS_NOTE,
    Cell,
    Table,
    best_of,
    fold_columns,
)

PUBLISHED: Final = "published"
_HEADING: Final = "publ."
_RECALL: Final = ("t2v", "R@1")
_Y_LABEL: Final = "t2v R@1 (%)"
_PUBLISHED_NOTE: Final = (
    f"Publ.: published by the authors ({SOURCE}), on the test split; nothing of it was measured here. "
    "The paper leaves raw parameters, such as attention's input projections, out of its counts."
)
# ablations with published results: variant, setting, values
_ABLATIONS: Final[Sequence[tuple[Variant, str, Sequence[Any]]]] = (
    (Variant.VOP, "sides", list(Sides)),
    (Variant.C, "context_module", list(ContextModule)),
)


def table_rows(
    groups: Sequence[Group], dataset: DatasetName | None
) -> list[tuple[str, TuningConfig, Group | None]]:
    """Return label, settings and the user's runs of each row.

    With a ``dataset``, each variant with a published result on it has a row, even without a run.
    """
    rows: list[tuple[str, TuningConfig, Group | None]] = []
    for variant in Variant:
        own = [group for group in groups if group.first.tuning.variant is variant]
        rows += [(group.label, group.first.tuning, group) for group in own]
        paper = TuningConfig(variant=variant)
        is_open = not any(dataset and published_metrics(dataset, group.first.tuning) for group in own)
        if is_open and dataset and published_metrics(dataset, paper):
            rows.append((f"{variant.value}, as published" if own else variant.value, paper, None))
    return rows


def published(dataset: DatasetName | None, tuning: TuningConfig, direction: str, name: str) -> float | None:
    """Return the published value of a metric, if there is one for these settings."""
    metrics = published_metrics(dataset, tuning) if dataset else None
    return None if metrics is None else metrics.get(direction, {}).get(name)


def name_splits(groups: Sequence[Group]) -> dict[str, str]:
    """Return a short name for the data of each group, such as "test" or "test 2"."""
    names: dict[str, str] = {}
    for on in dict.fromkeys(group.first.on for group in groups):
        word = on.partition(":")[0]
        number = 1 + sum(other.partition(":")[0] == word for other in names)
        names[on] = word if number == 1 else f"{word} {number}"
    return names


def table_metrics(groups: Sequence[Group]) -> list[str]:
    """Return the names of the metrics; those of sentences are added if a group has them."""
    held = {name for group in groups for _, name in group.first.metrics}
    return [*METRICS, *(name for name in SENTENCE_METRICS if name in held.difference(METRICS))]


def paper_table(groups: Sequence[Group], dataset: DatasetName | None, direction: str) -> Table:
    """Return Table 1 in one direction: means of the user's runs beside published results."""
    splits = name_splits(groups)
    columns = ["method", *(heading for name in table_metrics(groups) for heading in (name, _HEADING))]
    columns += ["trained", _HEADING, "runs", "on"]
    if not dataset:
        columns = [column for column in columns if column != _HEADING]
    best = _best_of_own(groups, direction)
    rows = [
        _row(Cell(label, "text"), tuning, group, dataset, direction, splits, best)
        for label, tuning, group in table_rows(groups, dataset)
    ]
    where = ""
    if dataset:
        is_same = not _elsewhere(groups, dataset)
        where = f" on {dataset.value}" if is_same else f", beside {dataset.value} as published"
    return Table(f"{DIRECTION_TITLES[direction]}{where}", [], columns, rows)


def paper_section(groups: Sequence[Group], dataset: DatasetName | None) -> Section:
    """Return the tables of both directions without repeated columns, and their common notes."""
    tables = [fold_columns(paper_table(groups, dataset, direction)) for direction in DIRECTION_TITLES]
    below = notes(groups, dataset)
    if any(cell.spread and "±" not in cell.spread for table in tables for row in table.rows for cell in row):
        below.append(INTERVALS_NOTE)
    below += dict.fromkeys(note for table in tables for note in table.notes)
    return Section("Results", tables=[replace(table, notes=()) for table in tables], notes=below)


def data_notes(groups: Sequence[Group]) -> list[str]:
    """Return a note on each data set, with its short name."""
    return [f"{name} — {on.partition(': ')[2]}" for on, name in name_splits(groups).items()]


def notes(groups: Sequence[Group], dataset: DatasetName | None) -> list[str]:
    """Return the notes below the tables of both directions."""
    own = [METRICS_NOTE]
    if any(len(group.members) > 1 for group in groups):
        own.append("± is the sample standard deviation (N - 1) over runs that differ in the seed only.")
    if len(groups) > 1 and len(name_splits(groups)) == 1:
        own.append("Bold and starred on a page: the best of the own runs in a column.")
    if not dataset:
        return own
    if others := _elsewhere(groups, dataset):
        own.append(
            f"Not known to be measured on {dataset.value}: {'; '.join(others)}. "
            "Results on other data cannot be compared with the published ones."
        )
    if any(", other size" in split for split in name_splits(groups).values()):
        own.append(
            "Other size: not the benchmark's published numbers of videos and captions; not comparable."
        )
    return [*own, _PUBLISHED_NOTE]


def _elsewhere(groups: Sequence[Group], dataset: DatasetName) -> list[str]:
    return [group.label for group in groups if group.first.dataset is not dataset]


def _best_of_own(groups: Sequence[Group], direction: str) -> dict[str, str]:
    """Return the best mean of each metric, as printed; empty if the data of the groups differ."""
    if len(name_splits(groups)) > 1:
        return dict.fromkeys(table_metrics(groups), "")
    return {
        name: best_of([text for group in groups if (text := group.texts(direction, name)[0])], name)
        for name in table_metrics(groups)
    }


def _row(
    label: Cell,
    tuning: TuningConfig,
    group: Group | None,
    dataset: DatasetName | None,
    direction: str,
    splits: Mapping[str, str],
    best: Mapping[str, str],
) -> list[Cell]:
    cells = [label]
    for name in best:
        value = published(dataset, tuning, direction, name)
        text, spread = group.texts(direction, name) if group else ("", "")
        cells.append(Cell(text, "best" if text == best[name] != "" else "", spread))
        cells.append(Cell("" if value is None else f"{value:.1f}", PUBLISHED))
    millions = METHODS[tuning.variant].published_millions
    cells.append(Cell(f"{group.first.num_trained:,}" if group else ""))
    cells.append(Cell(f"{millions} M" if millions else "", PUBLISHED))
    cells.append(Cell(str(len(group.members)) if group else ""))
    cells.append(Cell(splits[group.first.on] if group else "", "text"))
    return [cell for cell in cells if dataset or cell.kind != PUBLISHED]


def text_table(groups: Sequence[Group], dataset: DatasetName | None) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of both directions for a terminal: deviations, but no intervals."""
    tables = {direction: paper_table(groups, dataset, direction) for direction in DIRECTION_TITLES}
    return ["direction", *tables["t2v"].columns], [
        [direction, *(f"{cell.text} {cell.spread}" if "±" in cell.spread else cell.text for cell in row)]
        for direction, table in tables.items()
        for row in table.rows
    ]


def recall_figure(groups: Sequence[Group], dataset: DatasetName | None) -> Section | None:
    """Return figure 1: recall against trained parameters, published points hollow.

    None unless there are two points.
    """
    splits = name_splits(groups)
    points = [
        Point(
            group.first.num_trained,
            mean,
            f"{group.label}, {splits[group.first.on]}" if len(splits) > 1 else group.label,
            deviation=group.deviation(*_RECALL),
            series=group.series,
        )
        for group in groups
        if (mean := group.mean(*_RECALL)) is not None
    ]
    points += _published_points(dataset) if dataset else ()
    if len(points) < 2:
        return None
    chart = scatter(
        "t2v R@1 and trained parameters", points, x_label="trained parameters, log scale", y_label=_Y_LABEL
    )
    legend = list(dict.fromkeys((point.name, point.series) for point in points))
    hollow = [f"Hollow: {PUBLISHED} ({SOURCE})."] if any(point.is_hollow for point in points) else []
    return Section("Recall against trained parameters", charts=[chart], legend=legend, notes=hollow)


def _published_points(dataset: DatasetName) -> Iterator[Point]:
    for variant in Variant:
        recall = published(dataset, TuningConfig(variant=variant), *_RECALL)
        if recall is not None:
            count = 1e6 * (METHODS[variant].published_millions or 0.0)
            yield Point(count, recall, variant.value, series=variant_series(variant), is_hollow=True)


def ablation_figure(groups: Sequence[Group], dataset: DatasetName | None) -> Section | None:
    """Return figure 3: a chart for each setting that alone differs between runs; None if there is none."""
    charts: list[Chart] = []
    legend: dict[str, int] = {}
    for setting in dict.fromkeys(name for group in groups for name in group.first.settings):
        series = _series_over(setting, groups)
        if not series:
            continue
        series |= dict(_published_series(setting, dataset))
        values = sorted({value for points in series.values() for value in points}, key=_order)
        lines = []
        for name, by_value in series.items():
            points = [replace(by_value[value], x=i) for i, value in enumerate(values) if value in by_value]
            lines.append(Line(name, points, points[0].series, is_marked=True))
            legend[name] = points[0].series
        texts = [str(value) for value in values]
        charts.append(line_chart(f"By {setting}", lines, x_label=setting, y_label=_Y_LABEL, categories=texts))
    return Section("Ablations", charts=charts, legend=list(legend.items())) if charts else None


def _series_over(setting: str, groups: Sequence[Group]) -> dict[str, dict[Any, Point]]:
    """Return series by name: points by the value of ``setting``, for runs that are equal in all else."""
    splits = name_splits(groups)
    alike: dict[tuple[Any, ...], dict[Any, Point]] = {}
    names: dict[tuple[Any, ...], str] = {}
    for group in groups:
        first = group.first
        mean = group.mean(*_RECALL)
        if setting not in first.settings or mean is None:
            continue
        rest = {name: value for name, value in first.settings.items() if name != setting}
        key = (first.tuning.variant, first.dataset, first.on, str(sorted(rest.items())))
        point = Point(0, mean, group.label, deviation=group.deviation(*_RECALL))
        alike.setdefault(key, {})[first.settings[setting]] = point
        names[key] = f"{first.tuning.variant.value}, {splits[first.on]}"
    found: dict[str, dict[Any, Point]] = {}
    for key, points in alike.items():
        if len(points) > 1:
            number = sum(name.startswith(names[key]) for name in found)
            series = variant_series(key[0], number)
            found[names[key] + (f" ({number + 1})" if number else "")] = {
                value: replace(point, series=series) for value, point in points.items()
            }
    return found


def _published_series(setting: str, dataset: DatasetName | None) -> Iterator[tuple[str, dict[Any, Point]]]:
    for variant, name, values in _ABLATIONS:
        if name != setting:
            continue
        title, series = f"{variant.value}, {PUBLISHED}", variant_series(variant) + 8  # dashed
        points = {
            value.value: Point(0, recall, title, series=series)
            for value in values
            if (
                recall := published(
                    dataset, replace(TuningConfig(variant=variant), **{name: value}), *_RECALL
                )
            )
        }
        if points:
            yield title, points


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float))
    return not is_number, float(value) if is_number else 0.0, str(value)
