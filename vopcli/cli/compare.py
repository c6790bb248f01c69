"""``vop compare``: test whether models differ significantly."""

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
        list[Path], typer.Argument(metavar="RESULTS.json...", help="Output of `vop eval --json`.")
    ],
    *,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="MODEL|FILE", help="Model to compare with. [default: the first model]"),
    ] = None,
    show: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Captions to list per model, largest change of rank first."),
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed of the bootstrap.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Compare models on the same queries: recall, its change, and 95 % confidence intervals.

    Intervals come from a paired bootstrap over the queries that resamples the captions of a video together.
    A change whose interval includes 0 is not significant. The variance between training seeds is not
    included. The captions whose rank changed most are listed last.
    """
    from vopcli.evaluation.compare import compare_files

    result = compare_files(files, baseline=baseline, num_shown=show, seed=seed)
    if as_json:
        console.print_json(result.to_json())
        return
    console.print_table(_COLUMNS, [row for model in result.models for row in _rows(model)], num_keys=2)
    if captions := [row for model in result.models for row in _captions(model)]:
        console.print_table(_CAPTION_COLUMNS, captions)
    console.say(
        f"{result.num_captions} captions, {result.num_videos} videos; "
        f"change, better and worse relative to {result.baseline.name}"
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
