"""``vop card``: write the model card of a run."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `vop train`.")],
    *,
    repository: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Repository on the hub, for the card's commands.")
    ] = "owner/name",
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="EVAL.json", help="Results of this run, by `vop eval --json`."),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model card for the Hugging Face hub into a run folder, as README.md.

    It holds the variant, the commands to use it, its results, and metadata for the hub. Without --results,
    the results are those on the validation set.
    """
    from vopcli.methods.hub import check_repository
    from vopcli.reports.card import write_card

    path = write_card(run, results or [], check_repository(repository), overwrite=overwrite)
    console.print_line(console.printable(str(path)))
