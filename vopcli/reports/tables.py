"""Tables of results: cells of text, with the best of each column marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from vopcli.evaluation.published import said

FIGURES: Final = ("R@1", "R@5", "R@10", "MdR", "MnR")
FIGURES_NOTE: Final = (
    "R@K: percent of the queries whose right answer is among the first K. MdR, MnR: median and mean rank."
)
LOWER_IS_BETTER: Final = {"MdR", "MnR"}
WAY_TITLES: Final = {"t2v": "Text to video (t2v)", "v2t": "Video to text (v2t)"}
_LONGEST_NAME: Final = 28

Result = Mapping[str, Any]  # what `vop eval --json` prints of one model


@dataclass(frozen=True)
class Cell:
    """A cell of a table; ``kind`` is "" of a figure, "text", "best" or "published"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what it shows.
        groups: headings above the columns, and how many columns each spans; may be empty.
        columns: headings.
        rows: as many cells as columns; the first one names the row.
        notes: sentences that stand below.
    """

    title: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)


def name_results(results: Sequence[Result]) -> list[str]:
    """Return a name for each result: its variant, or what tells it from the others of the same variant."""
    for names in (
        [str(result["variant"]) for result in results],
        [PurePath(result["target"]).name for result in results],
    ):
        if len(set(names)) == len(names):
            return [_shortened(name) for name in names]
    return [_shortened(str(result["target"])) for result in results]


def results_table(results: Sequence[Result]) -> Table:
    """Return the figures of each model, both directions."""
    names = name_results(results)
    columns = ["model", "variant", "trained parameters", *FIGURES, *FIGURES, "queries", "gallery"]
    groups = [("", 3), *((WAY_TITLES[way], len(FIGURES)) for way in WAY_TITLES), ("sizes (t2v)", 2)]
    best = {
        (way, name): best_of([figure(result, way, name) for result in results], name)
        for way in WAY_TITLES
        for name in FIGURES
    }
    rows = []
    for label, result in zip(names, results, strict=True):
        figures = [
            Cell(text := figure(result, way, name), "best" if text == best[way, name] else "")
            for way in WAY_TITLES
            for name in FIGURES
        ]
        sizes = [Cell(f"{result['t2v'][name]:,}") for name in ("num_queries", "gallery_size")]
        rows.append(
            [
                Cell(label, "text"),
                Cell(result["variant"], "text"),
                Cell(f"{result['num_trained']:,}"),
                *figures,
                *sizes,
            ]
        )
    notes = [FIGURES_NOTE]
    if len(results) > 1:
        notes.append("Bold and starred: the best of a column.")
    return Table("Results", groups, columns, rows, [*notes, *_measured_how(results, names)])


def figure(result: Result, way: str, name: str) -> str:
    """Return a figure with one decimal."""
    return f"{result[way][name]:.1f}"


def best_of(texts: Sequence[str], name: str) -> str:
    """Return the best of a column, as it is printed; empty where there is nothing to compare."""
    if len(set(texts)) < 2:
        return ""
    return (min if name in LOWER_IS_BETTER else max)(texts, key=float)


def _measured_how(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Return what is to be known of the figures, each sentence once, with the models that it holds for."""
    holds_for: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        for sentence in _sentences(result):
            holds_for.setdefault(sentence, []).append(number)
    return [_whose(numbers, names) + sentence for sentence, numbers in holds_for.items()]


def _whose(numbers: Sequence[int], names: Sequence[str]) -> str:
    """Return the shorter of two lists, with a colon: these models, or all but the others."""
    others = [name for number, name in enumerate(names) if number not in numbers]
    if not others:
        return ""
    if len(others) < len(numbers):
        return f"All but {', '.join(others)}: "
    return f"{', '.join(names[number] for number in numbers)}: "


def _sentences(result: Result) -> list[str]:
    t2v, data = result["t2v"], result["data"]
    sentences = [
        f"Measured on the split {result['split']}, with {result['weights']}.",
        f"Equal scores rank by the rule {t2v['ties']!r}; {t2v['protocol']}, {result['v2t']['protocol']}.",
    ]
    if result["pooling"] != "mean":
        sentences.append(
            f"Frames are pooled by {result['pooling']}, not the mean of the published protocols."
        )
    if selected := result["selected"]:
        sentences.append(
            f"Epoch {selected['epoch'] + 1} was selected: {selected['rule']} ({selected['on']})."
        )
    if data["found_ratio"] < 1:
        sentences.append(
            f"Only {100 * data['found_ratio']:.1f} % of the gallery was found: not comparable with others."
        )
    for count, what in (
        (result["num_cut_captions"], f"captions were cut to {result['max_tokens']} tokens"),
        (result["num_duplicate_captions"], "captions repeat another"),
        (t2v["num_tied_queries"], "t2v queries tie with their right answer"),
    ):
        if count:
            sentences.append(f"{count:,} {what}.")
    if t2v["uses_other_queries"]:
        sentences.append(f"The scoring {t2v['scoring']!r} uses the other queries of the test.")
    if result["published"]:
        sentences.append(f"{result['variant']} on {result['dataset']}, {said(result['published'])}.")
    return [*sentences, *data["notes"]]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
