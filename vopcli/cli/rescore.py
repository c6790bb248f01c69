"""``vop rescore``: saved scores after dual softmax and QB-Norm."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import TieRule
from vopcli.reports.tables import FIGURES


def rescore(
    file: Annotated[Path, typer.Argument(metavar="SIMS.h5", help="What `vop eval --save-sims` wrote.")],
    *,
    ties: Annotated[TieRule, typer.Option(help="How equal scores rank.")] = TieRule.AVERAGE,
    gate_top: Annotated[
        int, typer.Option(min=1, help="Videos of each bank caption for which QB-Norm is applied.")
    ] = 1,
    as_json: options.Json = False,
) -> None:
    """Measure saved scores: as they are, then after dual softmax, then after QB-Norm.

    Only the first line is the plain protocol. Dual softmax looks at all queries of the test at once, which no
    search could do. QB-Norm looks at a bank of training captions, and its beta is chosen on the validation
    split; it is for t2v alone.
    """
    from vopcli.evaluation.rescore import rescore as measure

    result = measure(file, ties=ties, top=gate_top)
    if as_json:
        console.print_json(result)
        return
    columns = ("scoring", "uses", *(f"{way} {figure}" for way in ("t2v", "v2t") for figure in FIGURES))
    console.print_table(columns, [_row(scoring) for scoring in result["scorings"]])
    for scoring in result["scorings"]:
        if scoring["uses_bank"]:
            console.say(
                f"QB-Norm: {scoring['num_bank']} training captions, beta {scoring['beta']:g} chosen on "
                f"{result['val']}; {scoring['num_activated']} videos activated"
            )
    if not result["num_bank"]:
        console.say(f"{file} holds no bank: no QB-Norm")


def _row(scoring: dict[str, Any]) -> list[str]:
    uses = "other test queries" if scoring["uses_other_queries"] else ""
    uses = "training captions" if scoring["uses_bank"] else uses
    figures = [
        f"{scoring[way][figure]:.1f}" if scoring[way] else "" for way in ("t2v", "v2t") for figure in FIGURES
    ]
    return [scoring["scoring"], uses or "nothing else", *figures]
