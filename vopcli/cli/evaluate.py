"""``vop eval``: retrieval metrics of runs, adapter files or the plain backbone."""

from typing import Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.retrieval.metrics_ties import TieRule

_FIGURES = ("R@1", "R@5", "R@10", "MdR", "MnR")


def evaluate(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|ADAPTER|zero-shot]...", help="What to measure. Default: the newest run."
        ),
    ] = None,
    *,
    split: Annotated[str, typer.Option(help="Split of the captions.")] = "test",
    ties: Annotated[TieRule, typer.Option(help="How equal scores rank.")] = TieRule.AVERAGE,
    frames: Annotated[str | None, typer.Option(metavar="STORE.h5", help="Frame store.")] = None,
    captions: Annotated[str | None, typer.Option(metavar="FILE", help="Captions: JSON Lines or CSV.")] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure how well captions find their videos (t2v), and videos their captions (v2t)."""
    from vopcli.config.load import load_config, override
    from vopcli.workflows.evaluate import EvaluateRequest
    from vopcli.workflows.evaluate import evaluate as measure

    given = {"backbone": {"weights": weights}, "data": {"frames": frames, "captions": captions}}
    request = EvaluateRequest(override(load_config(config), given), targets or [], split, ties, device)
    results = measure(request, console.progress(quiet=quiet))
    if as_json:
        console.print_json(results if len(results) > 1 else results[0])
        return
    columns = ("model", "trained", *(f"{way} {figure}" for way in ("t2v", "v2t") for figure in _FIGURES))
    console.print_table(columns, [_row(result) for result in results])
    for result in results:
        way = result["t2v"]
        console.say(
            f"{result['target']}: {way['num_queries']} queries, {way['gallery_size']} videos, "
            f"{result['num_cut_captions']} captions cut, equal scores rank by {way['ties']}"
        )


def _row(result: dict[str, Any]) -> list[str]:
    figures = [f"{result[way][figure]:.1f}" for way in ("t2v", "v2t") for figure in _FIGURES]
    return [result["target"], str(result["num_trained"]), *figures]
