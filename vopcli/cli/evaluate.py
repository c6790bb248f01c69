"""``vop eval``: retrieval metrics of runs, adapter files or the plain backbone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import QueryUnit
from vopcli.config.schema import Config
from vopcli.evaluation.published import DIRECTIONS, TABLE_METRICS, format_published

if TYPE_CHECKING:
    from vopcli.evaluation.results import EvalResult


@options.settings(
    *("data.frames", "data.captions", "data.dataset", "data.root", "data.allow_missing", "data.max_tokens"),
    *("backbone", "training.precision", "evaluation.ties", "evaluation.bank", "search.pooling"),
    preset=True,
)
def evaluate(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|ADAPTER|zero-shot]...", help="Models to evaluate. [default: the newest run]"
        ),
    ] = None,
    *,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split to evaluate.")] = "test",
    config: Config,
    html: options.Html = None,
    figures: options.Figures = None,
    num_queries: options.NumQueries = options.NUM_QUERIES,
    save_sims: Annotated[
        Path | None,
        typer.Option(metavar="SIMS.h5", help="Save the scores of one model for `vop rescore`."),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Evaluate retrieval of videos by their captions (t2v) and of captions by their videos (v2t)."""
    from vopcli.evaluation.evaluate import EvaluateRequest
    from vopcli.evaluation.evaluate import evaluate as measure
    from vopcli.evaluation.save_scores import SaveRequest
    from vopcli.reports.eval_page import eval_page
    from vopcli.reports.output import check_outputs, write_outputs

    save = SaveRequest(save_sims, config.evaluation.bank, overwrite) if save_sims else None
    request = EvaluateRequest(config, targets or [], split, save)
    check_outputs(html, figures, overwrite=overwrite)
    progress = console.progress(quiet=quiet)
    results = measure(request, progress)
    if save_sims:
        progress.note(f"wrote {save_sims}")
    if as_json:
        documents = [result.to_json() for result in results]
        console.print_json(documents if len(documents) > 1 else documents[0])
    else:
        metrics = TABLE_METRICS[config.data.queries]
        columns = (
            "model",
            "trained",
            *(f"{direction} {name}" for direction in DIRECTIONS for name in metrics),
        )
        console.print_table(columns, [_row(result) for result in results])
        for result in results:
            progress.note(_note(result))
            if result.published and result.dataset:
                published = format_published(result.published)
                progress.note(f"{result.dataset.value}, {result.variant}, {published}")
    if html or figures:
        store = Path(request.config.data.frames or "")
        page = eval_page(results, store, num_queries=num_queries if html else 0)
        write_outputs(page, html, figures, progress)


def _note(result: "EvalResult") -> str:
    t2v, data = result.metrics.t2v, result.data
    note = (
        f"{result.target}: {t2v.num_queries} queries, {t2v.gallery_size} videos, "
        f"{result.num_cut_captions} captions truncated, ties ranked by rule {t2v.ties.value}"
    )
    if result.queries is QueryUnit.SENTENCES:
        note += "; each sentence finds its whole video: not comparable with paragraphs"
    if result.pooling != "mean":
        note += f"; frames pooled by {result.pooling}; published protocols use the mean"
    if missing := len(data.without_file):
        note += f"; INCOMPLETE: {missing} videos are missing, {100 * data.found_ratio:.1f} % were found"
    if data.other_size:
        note += f"; OTHER SIZE than published: {data.other_size}"
    if data.skipped:
        note += f"; {len(data.skipped)} videos left out by data.skip"
    return note


def _row(result: "EvalResult") -> list[str]:
    directions, names = result.metrics.by_direction.values(), TABLE_METRICS[result.queries]
    metrics = [f"{direction.by_name[name]:.1f}" for direction in directions for name in names]
    return [result.target, str(result.num_trained), *metrics]
