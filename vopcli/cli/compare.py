"""``vop compare``: is one model better than another by more than chance."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.cli import console, options

_COLUMNS = (
    *("model", "figure", "value", "from", "to"),
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
        console.print_json(result)
        return
    console.print_table(_COLUMNS, [row for model in result["models"] for row in _rows(model)])
    if captions := [row for model in result["models"] for row in _captions(model)]:
        console.print_table(_CAPTION_COLUMNS, captions)
    console.say(
        f"{result['num_captions']} captions, {result['num_videos']} videos; "
        f"change, better and worse against {result['baseline']}"
    )


def _rows(model: dict[str, Any]) -> list[list[str]]:
    rows = []
    for way in ("t2v", "v2t"):
        against = model[way].get("against_baseline")
        for figure, recall in model[way]["recall"].items():
            row = [
                model["model"],
                f"{way} {figure}",
                *(f"{recall[end]:.1f}" for end in ("value", "low", "high")),
            ]
            if against:
                change = against["difference"][figure]
                row += [f"{change[end]:+.1f}" for end in ("value", "low", "high")]
                row += [str(against[count]) for count in ("wins", "losses", "ties")]
            rows.append(row + [""] * (len(_COLUMNS) - len(row)))
    return rows


def _captions(model: dict[str, Any]) -> list[list[str]]:
    against = model["t2v"].get("against_baseline", {})
    return [
        [
            model["model"],
            word,
            *(f"{item[rank]:.7g}" for rank in ("rank_before", "rank")),
            item["caption"],
            item["video"],
        ]
        for kind, word in (("most_won", "better"), ("most_lost", "worse"))
        for item in against.get(kind, [])
    ]
