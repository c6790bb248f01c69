"""``vop eval``: retrieval metrics of runs, adapter files or the plain backbone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import TieRule
from vopcli.evaluation.published import DIRECTIONS, METRICS, format_published

if TYPE_CHECKING:
    from vopcli.evaluation.results import EvalResult


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
    pooling: options.PoolingOption = "mean",
    preset: options.Preset = None,
    frames: options.Frames = None,
    captions: options.Captions = None,
    dataset: options.Dataset = None,
    root: options.Root = None,
    allow_missing: options.AllowMissing = None,
    max_tokens: options.MaxTokens = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    precision: options.PrecisionSetting = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    html: options.Html = None,
    queries: options.Queries = options.NUM_QUERIES,
    save_sims: Annotated[
        Path | None,
        typer.Option(metavar="SIMS.h5", help="Keep all scores of the one model for `vop rescore`."),
    ] = None,
    bank: Annotated[
        int, typer.Option(min=0, help="Training captions to keep for QB-Norm, at most; 0: none.")
    ] = 10_000,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure how well captions find their videos (t2v), and videos their captions (v2t)."""
    from vopcli.config.choices import parse_pooling
    from vopcli.config.load import load_config, override
    from vopcli.evaluation.evaluate import EvaluateRequest
    from vopcli.evaluation.evaluate import evaluate as measure
    from vopcli.evaluation.save_scores import SaveRequest
    from vopcli.reports.eval_page import check_place, eval_page, write_page

    data: dict[str, Any] = {
        "frames": frames,
        "captions": captions,
        "dataset": dataset,
        "root": root,
        "allow_missing": allow_missing,
        "max_tokens": max_tokens,
    }
    given = {"backbone": {"weights": weights}, "data": data, "training": {"precision": precision}}
    settings = override(load_config(config, preset=preset), given, assignments or ())
    save = SaveRequest(save_sims, bank, overwrite) if save_sims else None
    request = EvaluateRequest(settings, targets or [], split, ties, device, save, parse_pooling(pooling))
    if html:
        check_place(html, overwrite=overwrite)
    progress = console.progress(quiet=quiet)
    results = measure(request, progress)
    if save_sims:
        progress.note(f"wrote {save_sims}")
    if as_json:
        documents = [result.to_json() for result in results]
        console.print_json(documents if len(documents) > 1 else documents[0])
    else:
        columns = (
            "model",
            "trained",
            *(f"{direction} {name}" for direction in DIRECTIONS for name in METRICS),
        )
        console.print_table(columns, [_row(result) for result in results])
        for result in results:
            progress.note(_note(result))
            if result.published and result.dataset:
                published = format_published(result.published)
                progress.note(f"{result.dataset.value}, {result.variant}, {published}")
    if html:
        store = Path(request.config.data.frames or "")
        write_page(html, eval_page(results, store, num_queries=queries))
        progress.note(f"wrote {html}")


def _note(result: "EvalResult") -> str:
    t2v, data = result.metrics.t2v, result.data
    note = (
        f"{result.target}: {t2v.num_queries} queries, {t2v.gallery_size} videos, "
        f"{result.num_cut_captions} captions cut, equal scores rank by {t2v.ties.value}"
    )
    if result.pooling != "mean":
        note += f"; frames pooled by {result.pooling}, not the mean of the published protocols"
    if missing := len(data.without_file):
        note += f"; NOT WHOLE: {missing} videos are missing, {100 * data.found_ratio:.1f} % were found"
    return note


def _row(result: "EvalResult") -> list[str]:
    directions = result.metrics.by_direction.values()
    metrics = [f"{direction.by_name[name]:.1f}" for direction in directions for name in METRICS]
    return [result.target, str(result.num_trained), *metrics]
