"""``vop moments``: metrics of moment retrieval in an index."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.files.atomic import refuse_existing


@options.settings("search.index", "data.allow_missing")
def moments(
    context: typer.Context,
    queries: Annotated[
        Path, typer.Argument(metavar="QUERIES.jsonl", help="Queries with their videos and times.")
    ],
    *,
    config: Config,
    save_predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the predicted ranges as JSON Lines.")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Evaluate how well the ranges found by a search match annotated ones.

    QUERIES has lines with qid, query, vid, duration and relevant_windows, as in QVHighlights and the films
    of `vop demo --films`; a .json file maps videos to duration, timestamps and sentences, as in ActivityNet
    Captions. Ranges are searched within the query's own video, with the best constant range as the baseline,
    and over all videos as `vop search` does.
    """
    from vopcli.cli.choose_index import choose_index
    from vopcli.evaluation.moment_retrieval import evaluate_moments

    if save_predictions:
        refuse_existing(save_predictions, overwrite=overwrite)
    progress = console.progress(quiet=quiet)
    result = evaluate_moments(
        choose_index(context, config.search.index),
        queries,
        progress,
        allow_missing=config.data.allow_missing,
        predictions=save_predictions,
    )
    if as_json:
        console.print_json(result.to_json())
    else:
        rows = [
            [name, *(f"{value:.1f}" for value in vars(metrics).values())]
            for name, metrics in (("search", result.within), ("best constant range", result.constant))
        ]
        console.print_table(("ranges in the right video", "R1@0.5", "R1@0.7", "mAP", "mIoU"), rows)
        progress.note(
            f"{result.num_queries} queries over all {result.num_videos} videos: right video first "
            f"{result.video_first:.1f} %, R1@0.5 {result.r1_at_50:.1f} %, R1@0.7 {result.r1_at_70:.1f} %"
        )
    if result.num_missing:
        progress.warn(f"INCOMPLETE: the videos of {result.num_missing} queries are not in the index")
