"""Tables as Markdown, LaTeX and CSV: each cell once, and no character of a name acts as markup."""

from __future__ import annotations

import csv
import io
import re

import pytest

from vopcli.config.choices import TableFormat
from vopcli.reports.formats import format_tables
from vopcli.reports.tables import Cell, Table

EVIL = "a|b_c & 5 % $x$ #1 {y} ~^\\ <i> `q` *s*\n2"
TABLE = Table(
    "Text to video",
    [],
    ["method", "R@1", "publ.", "MdR", "publ.", "trained"],
    [
        [
            Cell(EVIL, "text"),
            Cell("43.1", "best", "± 0.8"),
            Cell("39.6", "published"),
            Cell("2.0"),
            Cell(""),
            Cell("1,024"),
        ],
        [
            Cell("P", "text"),
            Cell("9.0", "", "4.9–13.9"),
            Cell("", "published"),
            Cell(""),
            Cell(""),
            Cell("0"),
        ],
    ],
)


def test_markdown_has_a_line_for_each_row() -> None:
    text = format_tables([TABLE], ["a *note*"], TableFormat.MD)
    title, _, *lines = text.splitlines()
    assert title == "**Text to video**"
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[:4]]
    assert {len(row) for row in cells} == {6}
    assert [row[1].strip() for row in cells] == ["R@1", "---:", "**43.1** ± 0.8", "9.0 (4.9–13.9)"]
    assert cells[2][2].strip() == "*39.6*"
    assert r"a\|b\_c" in lines[2]
    assert r"\<i\>" in lines[2]
    assert lines[-1] == r"- a \*note\*"


def test_latex_escapes_its_special_characters() -> None:
    text = format_tables([TABLE], ["100 % —\n\\end{document}"], TableFormat.LATEX)
    [row] = [line for line in text.splitlines() if line.startswith("a|b")]
    assert row == (
        r"a|b\_c \& 5 \% \$x\$ \#1 \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"\textless{}i\textgreater{} `q` *s*\textbackslash{}n2 & \textbf{43.1} $\pm$ 0.8 & \textit{39.6} "
        r"& 2.0 &  & 1,024 \\"
    )
    assert r"P & 9.0 (4.9--13.9) &  &  &  & 0 \\" in text
    assert text.splitlines()[-1] == r"% 100 % —\n\end{document}", "one line of comment"
    assert r"\begin{tabular}{lrrrrr}" in text


def test_csv_has_numbers_and_a_column_for_each_spread() -> None:
    text = format_tables(
        [TABLE, Table("other", [], ["method", "SumR"], [[Cell("F", "text"), Cell("9")]])], [], TableFormat.CSV
    )
    first, second, other = csv.DictReader(io.StringIO(text))
    assert list(first) == [
        "table",
        "method",
        "R@1",
        "R@1 spread",
        "R@1 publ.",
        "MdR",
        "MdR publ.",
        "trained",
        "SumR",
    ]
    assert [first[name] for name in ("R@1", "R@1 spread", "R@1 publ.", "trained")] == [
        "43.1",
        "0.8",
        "39.6",
        "1024",
    ]
    assert (second["R@1 spread"], second["MdR"], other["SumR"], other["R@1"]) == ("4.9–13.9", "", "9", "")
    assert first["method"] == EVIL.replace("\n", "\\n")


@pytest.mark.parametrize("kind", list(TableFormat))
def test_a_text_ends_with_one_newline(kind: TableFormat) -> None:
    assert re.search(r"[^\n]\n\Z", format_tables([TABLE], [], kind))
