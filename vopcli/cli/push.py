"""``vop push``: put the adapter of a run on the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `vop train`.")],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository, created if it is missing.")
    ],
    *,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Push the adapter of a run to the Hugging Face hub, with its model card.

    Other commands then take it as --adapter hf://owner/name. The card is the one of `vop card`, which may be
    edited first, or a new one. Settings and logs are not pushed: they name files of this machine.
    """
    from vopcli.evaluation.runs import check_finished
    from vopcli.methods.adapter_file import ADAPTER_NAME, read_adapter
    from vopcli.methods.hub import PREFIX, check_repository, push_files
    from vopcli.reports.card import CARD_NAME, write_card

    check_repository(repository)
    check_finished(run)
    read_adapter(run)  # refuses what is not one, and a damaged one
    card, name = run / CARD_NAME, f"{PREFIX}{repository}"
    if not card.exists():
        write_card(run, [], repository, overwrite=False)
    elif name not in card.read_text(encoding="utf-8", errors="replace"):
        console.say(f"Warning: {card} does not name {name}: edit it, or write it again with `vop card`")
    files = {ADAPTER_NAME: run / ADAPTER_NAME, CARD_NAME: card}
    address = push_files(repository, files, message=f"Adapter of {run.name}", is_private=private)
    console.print_line(console.printable(name))
    console.say(f"pushed to {address}")
