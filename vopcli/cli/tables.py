"""Tables on a terminal: a table that is too wide is printed in parts, so that no number is cut."""

import re
import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

_GAP = 2  # spaces between columns; 1 if the table fits only so
_WHOLE_CELL = 24  # characters; longer cells may be wrapped, but not within their numbers
_NUMBER = re.compile(r"(?<!\S)[^\sA-Za-z/]*\d[^\sA-Za-z/]*(?!\S)")


def draw_table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], *, num_keys: int, links: Sequence[str] = ()
) -> None:
    """Draw a table on the terminal.

    Args:
        columns: headers; those of several words may be wrapped.
        cells: printable text, by row.
        num_keys: columns that name the row, and are repeated in each part of a table that is too wide.
        links: URLs to which the last column links, by row; empty for none.
    """
    most = Console(file=sys.stdout).width
    texts = [[row[at] for row in cells] for at in range(len(columns))]
    least = [_least_width(*column) for column in zip(columns, texts, strict=True)]
    gap = _GAP if _total(least, _GAP) <= most else 1
    for number, part in enumerate(_parts(least, gap, most, num_keys)):
        if number:
            sys.stdout.write("\n")
        widths = [least[at] for at in part]
        _widen(widths, [max(map(cell_len, texts[at]), default=0) for at in part], most - _total(widths, gap))
        headers = [cell_len(columns[at]) for at in part]
        if _total([*map(max, widths, headers)], gap) <= most:
            widths = [*map(max, widths, headers)]
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0))
        for at, width in zip(part, widths, strict=True):
            table.add_column(columns[at], overflow="fold", width=width)
        for row, link in zip(cells, links or [""] * len(cells), strict=True):
            texts_of_row = [Text(row[at]) for at in part]  # Text: "[red]" in a file name is not markup
            if link and part[-1] == len(columns) - 1:
                texts_of_row[-1].stylize(Style(link=link))
            table.add_row(*texts_of_row)
        Console(file=sys.stdout, width=max(most, _total(widths, gap))).print(table)


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _widen(widths: list[int], wanted: Sequence[int], spare: int) -> None:
    """Let columns of long cells grow into the spare width, from the left."""
    for at, width in enumerate(wanted):
        more = max(0, min(width - widths[at], spare))
        widths[at] += more
        spare -= more


def _least_width(header: str, cells: Sequence[str]) -> int:
    """Return the width below which a column would cut a short cell, a number, or a word of its header."""
    words = header.split()
    for cell in cells:
        is_long = len(cell) > _WHOLE_CELL
        words += [*_NUMBER.findall(cell), cell[: _WHOLE_CELL // 2]] if is_long else [cell]
    return max(map(cell_len, words), default=0)


def _parts(widths: Sequence[int], gap: int, most: int, num_keys: int) -> list[list[int]]:
    """Distribute columns over tables of width ``most``, each with the key columns and at least another."""
    keys = list(range(num_keys))
    parts = [list(keys)]
    for at in range(num_keys, len(widths)):
        if len(parts[-1]) > num_keys and _total([widths[one] for one in [*parts[-1], at]], gap) > most:
            parts.append(list(keys))
        parts[-1].append(at)
    return parts
