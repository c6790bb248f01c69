"""``vop info``: what a file holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.errors import DataError


def info(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A frame store, index, adapter, run, saved scores, or weights."),
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of it and compare checksums; exit code 3 on damage.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Say what a frame store, an index, an adapter, a run, saved scores, or weights hold, and check it."""
    from vopcli.workflows.info import info as describe

    found = describe(file, console.progress(quiet=quiet), verify=verify)
    if as_json:
        console.print_json(found.description | ({"problems": found.problems} if verify else {}))
    else:
        console.print_table(["", ""], _rows(found.description))
    if found.problems:
        shown = "; ".join(found.problems[:10]) + ("; ..." if len(found.problems) > 10 else "")
        raise DataError(f"{file} is damaged: {shown}", hint="copy it again, or make it anew with --overwrite")
    if verify and not quiet:
        console.say(f"{file} is sound")


def _rows(description: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for name, value in description.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            rows.append([prefix + name, str(len(value))])
            rows += [[f"{prefix}{name}", ": ".join(map(str, item.values()))] for item in value]
        else:
            rows.append([prefix + name, f"{value:,}" if isinstance(value, int) else str(value)])
    return rows
