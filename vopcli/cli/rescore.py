"""``vop rescore``: saved scores after dual softmax and QB-Norm."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.evaluation.published import DIRECTIONS, TABLE_METRICS

if TYPE_CHECKING:
    from vopcli.evaluation.rescore import Scoring


@options.settings("evaluation.ties", "evaluation.gate_top")
def rescore(
    file: Annotated[Path, typer.Argument(metavar="SIMS.h5", help="Scores saved by `vop eval --save-sims`.")],
    *,
    config: Config,
    absent: Annotated[
        bool, typer.Option("--absent", help="Judge each query with and without its video in the gallery.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Evaluate saved scores: unchanged, after dual softmax, and after QB-Norm.

    Only unchanged scores follow the standard protocol. Dual softmax uses all test queries at once, which a
    search cannot do. QB-Norm uses a bank of training captions, with beta chosen on the validation split; it
    applies to t2v only.

    --absent evaluates instead how well scores tell queries whose video is in the gallery from queries whose
    video is not: the area under the ROC curve; the percentage of queries without their video that pass the
    threshold which 95 % of the others pass; and, in the gallery and random parts of it, the percentages of
    both that pass that threshold of the whole gallery, or a confidence of 0.95.
    """
    if absent:
        _print_absent(file, as_json=as_json)
        return
    from vopcli.evaluation.rescore import rescore as measure

    result = measure(file, ties=config.evaluation.ties, top=config.evaluation.gate_top)
    if as_json:
        console.print_json(result.to_json())
        return
    names = TABLE_METRICS[result.queries]
    columns = ("scoring", "uses", *(f"{direction} {name}" for direction in DIRECTIONS for name in names))
    console.print_table(columns, [_row(scoring, names) for scoring in result.scorings])
    for scoring in result.scorings:
        if scoring.uses_bank:
            details = scoring.details
            console.say(
                f"QB-Norm: {details['num_bank']} training captions, beta {details['beta']:g} chosen on "
                f"{result.about['val']}; {details['num_activated']} videos activated"
            )
    if not result.num_bank:
        console.say(f"{file} has no query bank: QB-Norm is skipped")


def _print_absent(file: Path, *, as_json: bool) -> None:
    from vopcli.evaluation.absent import measure_absent

    found = measure_absent(file)
    if as_json:
        console.print_json({"file": str(file), "absent": [one.to_json() for one in found]})
        return
    rows = [
        [
            one.rule,
            f"{one.num_videos:,}",
            f"{one.auroc:.3f}",
            *(f"{value:.1f}" for value in (one.false_percent, one.found_percent, one.kept_false_percent)),
        ]
        for one in found
    ]
    console.print_table(["rule", "videos", "AUROC", "false at 95 %", "found", "false"], rows)


def _row(scoring: "Scoring", names: Sequence[str]) -> list[str]:
    uses = "other test queries" if scoring.t2v.uses_other_queries else ""
    uses = "training captions" if scoring.uses_bank else uses
    metrics = [
        f"{direction.by_name[name]:.1f}" if direction else ""
        for direction in (scoring.t2v, scoring.v2t)
        for name in names
    ]
    return [scoring.name, uses or "nothing else", *metrics]
