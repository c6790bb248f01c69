"""Tables of results: cells of text, with the best of each column marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from vopcli.config.choices import QueryUnit
from vopcli.evaluation.published import DIRECTIONS, TABLE_METRICS, format_published
from vopcli.reports.groups import format_interval

if TYPE_CHECKING:
    from vopcli.evaluation.bootstrap import Interval
    from vopcli.evaluation.results import EvalResult  # loads NumPy, the command line does not

METRICS_NOTE: Final = (
    "R@K: percent of the queries whose right answer is among the first K. MdR, MnR: median and mean rank. "
    "Trained: number of parameters."
)
INTERVALS_NOTE: Final = (
    "Ranges: 95 % intervals by bootstrap over the queries, captions of one video drawn together."
)
_DESCRIPTIONS: Final = frozenset({"variant", "trained", "runs", "on"})
LOWER_IS_BETTER: Final = {"MdR", "MnR"}
DIRECTION_TITLES: Final = {"t2v": "Text to video (t2v)", "v2t": "Video to text (v2t)"}
_LONGEST_NAME: Final = 28


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the value.
        kind: "" for a number, "text", "best" or "published".
        spread: deviation or interval of the value, such as "± 0.8" or "40.1–46.0".
    """

    text: str
    kind: str = ""
    spread: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: heading; empty for the only table of a section.
        groups: headings above the columns, and how many columns each spans; may be empty.
        columns: headings.
        rows: as many cells as columns; the first one names the row.
        notes: sentences below the table.
    """

    title: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)


def name_runs(runs: Sequence[tuple[str, str]]) -> list[str]:
    """Name runs by their variant, else the last part of their path, else the path: the first that is unique.

    Args:
        runs: variant and path of each.
    """
    variants, paths = [variant for variant, _ in runs], [path for _, path in runs]
    for names in (variants, [PurePath(path).name for path in paths]):
        if len(set(names)) == len(names):
            return _shortened(names)
    return _shortened(paths)


def name_results(results: Sequence[EvalResult]) -> list[str]:
    """Name each result as `name_runs` does."""
    return name_runs([(result.variant, result.target) for result in results])


def fold_columns(table: Table) -> Table:
    """Drop columns that are empty or repeat the first, and move those that repeat one value to the notes."""
    kept, notes = [0], []
    for at, heading in enumerate(table.columns[1:], 1):
        texts = [row[at].text for row in table.rows]
        if not any(texts) or (heading in _DESCRIPTIONS and texts == [row[0].text for row in table.rows]):
            continue
        if heading in _DESCRIPTIONS and len(texts) > 1 and len(set(texts)) == 1:
            notes.append(f"In all rows: {heading} {texts[0]}.")
        else:
            kept.append(at)
    owners = [number for number, (_, span) in enumerate(table.groups) for _ in range(span)]
    left = [owners[at] for at in kept] if owners else []
    spans = [(text, left.count(number)) for number, (text, _) in enumerate(table.groups)]
    return Table(
        table.title,
        [(text, span) for text, span in spans if span],
        [table.columns[at] for at in kept],
        [[row[at] for at in kept] for row in table.rows],
        [*table.notes, *notes],
    )


def results_table(
    results: Sequence[EvalResult], intervals: Sequence[Mapping[tuple[str, str], Interval]]
) -> Table:
    """Return the metrics of each model in both directions, with the intervals of the recalls."""
    names = name_results(results)
    metrics = TABLE_METRICS[results[0].queries]
    columns = ["model", *metrics, *metrics, "variant", "trained"]
    groups = [("", 1), *((title, len(metrics)) for title in DIRECTION_TITLES.values()), ("", 2)]
    spreads = [
        [
            format_interval(one[key]) if (key := (direction, name)) in one else ""
            for direction in DIRECTIONS
            for name in metrics
        ]
        for one in intervals
    ]
    texts = [_metric_texts(result, metrics) for result in results]
    best = [best_of(column, metrics[at % len(metrics)]) for at, column in enumerate(zip(*texts, strict=True))]
    rows = []
    for label, result, row, spread in zip(names, results, texts, spreads, strict=True):
        cells = [
            Cell(text, "best" if text == top else "", ends)
            for text, top, ends in zip(row, best, spread, strict=True)
        ]
        rows.append(
            [Cell(label, "text"), *cells, Cell(result.variant, "text"), Cell(f"{result.num_trained:,}")]
        )
    notes = [METRICS_NOTE]
    if any(intervals):
        notes.append(INTERVALS_NOTE)
    if len(results) > 1:
        notes.append("Bold and starred: the best of a column.")
    table = Table("", groups, columns, rows, [*notes, *_notes_on(results, names)])
    return fold_columns(table)


def _metric_texts(result: EvalResult, metrics: Sequence[str]) -> list[str]:
    directions = result.metrics.by_direction.values()
    return [f"{direction.by_name[name]:.1f}" for direction in directions for name in metrics]


def best_of(texts: Sequence[str], name: str) -> str:
    """Return the best value of a column, as printed; empty if all are equal."""
    if len(set(texts)) < 2:
        return ""
    return (min if name in LOWER_IS_BETTER else max)(texts, key=float)


def _notes_on(results: Sequence[EvalResult], names: Sequence[str]) -> list[str]:
    """Return notes on how the models were measured, each once, with the models that it applies to."""
    applies_to: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        for sentence in _sentences(result):
            applies_to.setdefault(sentence, []).append(number)
    return [_whose(numbers, names) + sentence for sentence, numbers in applies_to.items()]


def _whose(numbers: Sequence[int], names: Sequence[str]) -> str:
    """Return the shorter of two lists, with a colon: these models, or all but the others."""
    others = [name for number, name in enumerate(names) if number not in numbers]
    if not others:
        return ""
    if len(others) < len(numbers):
        return f"All but {', '.join(others)}: "
    return f"{', '.join(names[number] for number in numbers)}: "


def _sentences(result: EvalResult) -> list[str]:
    t2v, v2t, data = result.metrics.t2v, result.metrics.v2t, result.data
    sentences = [
        f"Equal scores rank by the rule '{t2v.ties.value}'; {t2v.protocol}, {v2t.protocol}.",
    ]
    sentences += _other_protocol(result)
    if selected := result.selected:
        sentences.append(f"Epoch {selected.epoch + 1} was selected: {selected.rule} ({selected.on}).")
    if data.found_ratio < 1:
        sentences.append(
            f"Only {100 * data.found_ratio:.1f} % of the gallery was found: not comparable with others."
        )
    if data.other_size:
        sentences.append(f"Not the published size: {data.other_size}: not comparable with published results.")
    if data.skipped:
        sentences.append(f"{len(data.skipped):,} videos were left out by data.skip.")
    for count, text in (
        (result.num_cut_captions, f"captions were cut to {result.max_tokens} tokens"),
        (result.num_duplicate_captions, "captions repeat another"),
        (t2v.num_tied_queries, "t2v queries tie with their right answer"),
    ):
        if count:
            sentences.append(f"{count:,} {text}.")
    if t2v.uses_other_queries:
        sentences.append(f"The scoring '{t2v.scoring}' uses the other queries of the test.")
    if result.published and result.dataset:
        sentences.append(f"{result.variant} on {result.dataset.value}, {format_published(result.published)}.")
    return [*sentences, *data.notes]


def _other_protocol(result: EvalResult) -> Iterator[str]:
    """Yield how the protocol differs from the published ones."""
    if result.queries is QueryUnit.SENTENCES:
        yield "Each sentence finds its whole video: not comparable with paragraphs."
        yield "SumR: R@1 + R@5 + R@10 + R@100."
    if result.pooling != "mean":
        yield f"Frames are pooled by {result.pooling}, not the mean of the published protocols."


def _shortened(names: Sequence[str]) -> list[str]:
    """Cut the middle out of long names, unless two would then be equal."""
    half = (_LONGEST_NAME - 1) // 2
    short = [name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}" for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)
