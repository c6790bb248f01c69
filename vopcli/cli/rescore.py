"""``vop rescore``: saved scores after dual softmax and QB-Norm."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import TieRule
from vopcli.evaluation.published import DIRECTIONS, METRICS

if TYPE_CHECKING:
    from vopcli.evaluation.rescore import Scoring


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
        console.print_json(result.to_json())
        return
    columns = ("scoring", "uses", *(f"{direction} {name}" for direction in DIRECTIONS for name in METRICS))
    console.print_table(columns, [_row(scoring) for scoring in result.scorings])
    for scoring in result.scorings:
        if scoring.uses_bank:
            details = scoring.details
            console.say(
                f"QB-Norm: {details['num_bank']} training captions, beta {details['beta']:g} chosen on "
                f"{result.about['val']}; {details['num_activated']} videos activated"
            )
    if not result.num_bank:
        console.say(f"{file} holds no bank: no QB-Norm")


def _row(scoring: "Scoring") -> list[str]:
    uses = "other test queries" if scoring.t2v.uses_other_queries else ""
    uses = "training captions" if scoring.uses_bank else uses
    metrics = [
        f"{direction.by_name[name]:.1f}" if direction else ""
        for direction in (scoring.t2v, scoring.v2t)
        for name in METRICS
    ]
    return [scoring.name, uses or "nothing else", *metrics]
