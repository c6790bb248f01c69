"""The options, the folder and the table that all campaigns share."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def parser_of(description: str | None, count: str, default: int, text: str) -> argparse.ArgumentParser:
    """Return a parser of ``--COUNT``, ``--seed`` and ``--only``.

    Args:
        description: text of the script.
        count: name of the option for the number of attempts.
        default: its default.
        text: its help.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{count}", type=int, default=default, help=text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only rows whose name contains this text")
    return parser


def print_table(
    columns: Sequence[str],
    make: Callable[[Path], Iterable[Any]],
    attempt: Callable[[Any], Any],
    *,
    only: str = "",
    label: Callable[[Any], str] = lambda case: case.name,
    folder: Path | None = None,
) -> None:
    """Try all cases in a folder, print a row of counts for each, and exit with 1 if one is not sound.

    Args:
        columns: names of the columns.
        make: makes the cases in a folder, the current one.
        attempt: tries a case and returns its counts, a dataclass with ``is_sound``.
        only: leave out cases whose name does not contain this text.
        label: returns the first columns of a case.
        folder: the folder; None: a temporary one.
    """
    is_sound = True
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        os.chdir(place)
        os.environ["VOP_CACHE"] = str(place / "cache")
        print(f"| {' | '.join(columns)} |")
        print(f"|---|{'---:|' * (len(columns) - 1)}")
        for case in make(place):
            if only not in case.name:
                continue
            counts = attempt(case)
            print(f"| {label(case)} | {' | '.join(map(str, vars(counts).values()))} |", flush=True)
            is_sound = is_sound and counts.is_sound
        os.chdir("/")
    sys.exit(0 if is_sound else 1)
