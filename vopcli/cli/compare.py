"""``vop compare``: is one model better than another by more than chance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.cli import console, options

if TYPE_CHECKING:
    from vopcli.evaluation.compare import ComparedModel

_COLUMNS = (
    *("model", "metric", "value", "from", "to"),
    *("change", "from", "to", "queries better", "worse", "same"),
)
_CAPTION_COLUMNS = ("model", "caption is", "rank before", "rank", "caption", "video")


def compare(
    files: Annotated[
        list[Path], typer.Argument(metavar="RESULTS.json...", help="What `vop eval --json` printed.")
    ],
    *,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="MODEL|FILE", help="Compare with this one. Default: the first model."),
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Captions to list that won most, and that lost most.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Compare models on the same queries: recall, its change, and 95 % intervals of both.

    The intervals are from a paired bootstrap over the queries, where the captions of one video are drawn
    together. A change whose interval holds 0 may be chance. One seed of a training is one draw of many: the
    intervals say nothing of the others. Then come the captions whose rank changed most.
    """
    from vopcli.evaluation.compare import compare_files

    result = compare_files(files, baseline=baseline, num_shown=show, seed=seed)
    if as_json:
        console.print_json(result.to_json())
        return
    console.print_table(_COLUMNS, [row for model in result.models for row in _rows(model)])
    if captions := [row for model in result.models for row in _captions(model)]:
        console.print_table(_CAPTION_COLUMNS, captions)
    console.say(
        f"{result.num_captions} captions, {result.num_videos} videos; "
        f"change, better and worse against {result.baseline.name}"
    )


def _rows(model: "ComparedModel") -> list[list[str]]:
    rows = []
    for name, direction in model.directions.items():
        against = direction.against_baseline
        for depth, recall in direction.recall.items():
            row = [model.name, f"{name} R@{depth}"]
            row += [f"{end:.1f}" for end in (recall.value, recall.low, recall.high)]
            if against:
                change = against.difference[depth]
                row += [f"{end:+.1f}" for end in (change.value, change.low, change.high)]
                row += [str(count) for count in (against.wins, against.losses, against.ties)]
            rows.append(row + [""] * (len(_COLUMNS) - len(row)))
    return rows


def _captions(model: "ComparedModel") -> list[list[str]]:
    t2v = model.directions["t2v"]
    return [
        [model.name, word, f"{item.rank_before:.7g}", f"{item.rank:.7g}", item.caption, item.video]
        for word, changes in (("better", t2v.most_won), ("worse", t2v.most_lost))
        for item in changes or ()
    ]
