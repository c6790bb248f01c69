"""Tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Final

from vopcli.config.choices import TableFormat
from vopcli.reports.tables import Cell, Table

_LATEX: Final = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}


def format_tables(tables: Sequence[Table], notes: Sequence[str], kind: TableFormat) -> str:
    """Return tables with their notes as text; CSV has no notes, and spreads in columns of their own.

    Args:
        tables: of equal columns, for CSV.
        notes: sentences below the tables.
        kind: format of the text.
    """
    if kind is TableFormat.CSV:
        return _csv(tables)
    parts = [_markdown(table) if kind is TableFormat.MD else _latex(table) for table in tables]
    if kind is TableFormat.MD:
        parts.append("\n".join(f"- {_markdown_text(note)}" for note in notes))
    else:
        parts.append("\n".join(f"% {_one_line(note)}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", _one_line(text))


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _cells(row: Sequence[Cell], escape: Callable[[str], str], best: str, published: str) -> list[str]:
    marks = {"best": best, "published": published}
    texts = []
    for cell in row:
        text = marks.get(cell.kind, "{}").format(escape(cell.text)) if cell.text else ""
        spread = cell.spread if "±" in cell.spread else f"({cell.spread})"
        texts.append(f"{text} {escape(spread)}" if cell.spread else text)
    return texts


def _markdown(table: Table) -> str:
    lines = [[_markdown_text(column) for column in table.columns], [":---"]]
    lines[1] += ["---:"] * (len(table.columns) - 1)
    lines += [_cells(row, _markdown_text, "**{}**", "*{}*") for row in table.rows]
    title = [f"**{_markdown_text(table.title)}**", ""] if table.title else []
    return "\n".join([*title, *(f"| {' | '.join(line)} |" for line in lines)])


def _latex(table: Table) -> str:
    lines = [[_latex_text(column) for column in table.columns]]
    lines += [_cells(row, _latex_text, r"\textbf{{{}}}", r"\textit{{{}}}") for row in table.rows]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text(table.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\hline",
            head,
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _csv(tables: Sequence[Table]) -> str:
    """Return one table of all, with their titles as first column and each spread in its own."""
    lines = []
    columns: dict[str, set[str]] = {}
    for table in tables:
        for row in table.rows:
            line = {"table": table.title}
            for name, cell in zip(_unique_names(table.columns), row, strict=True):
                line[name] = cell.text if cell.kind == "text" else cell.text.replace(",", "")
                columns.setdefault(name, set())
                if cell.spread:
                    columns[name].add(f"{name} spread")
                    line[f"{name} spread"] = cell.spread.removeprefix("± ")
            lines.append({name: _one_line(text) for name, text in line.items()})
    names = ["table", *(one for name, spread in columns.items() for one in (name, *spread))]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _unique_names(columns: Sequence[str]) -> list[str]:
    """Return the headings, with that of the left column before those that occur more than once."""
    return [
        f"{columns[at - 1]} {name}" if columns.count(name) > 1 else name for at, name in enumerate(columns)
    ]
