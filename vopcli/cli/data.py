"""``vop data``: check the videos and captions of a benchmark."""

from typing import TYPE_CHECKING

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from vopcli.datasets.check import DataCheck
    from vopcli.datasets.records import SplitReport

_COLUMNS = ("split", "listed", "published", "with captions", "with file", "used", "captions", "missing")
_MAX_NAMED = 10

app = typer.Typer(help="Check the videos and captions of a benchmark.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a subcommand: Typer would merge a single command with its group."""


@app.command()
@options.settings("data.dataset", "data.root", "data.captions", "data.frames", preset=True)
def check(
    context: typer.Context,
    *,
    splits: options.Splits = None,
    config: Config,
    as_json: options.Json = False,
) -> None:
    """Count listed, captioned, existing and used videos of each split; name missing ones.

    Videos are looked up in the frame store if it exists, else below the root folder. Exit code 4 means that
    videos are missing, or that a split differs from its published size. Up to ten names per split are printed
    to stderr, all of them with --json.
    """
    from vopcli.datasets.check import check_data

    is_store_named = context.params["frames"] is not None  # by --frames, not by vop.yaml
    result = check_data(config.data, options.split_names(splits), store_must_exist=is_store_named)
    if as_json:
        console.print_json(result.to_json())
    else:
        reports = result.annotations.reports
        rows = [_row(report, result.published.get(report.split)) for report in reports]
        console.print_table(_COLUMNS, rows)
        _say_notes(result)
    raise typer.Exit(0 if result.is_complete else EXIT_SOME_FAILED)


def _row(report: "SplitReport", published: int | None) -> list[str]:
    counts = (
        *(report.num_listed, published, report.num_with_captions),
        *(report.num_with_file, report.num_used, report.num_captions, len(report.without_file)),
    )
    return [report.split, *("" if count is None else str(count) for count in counts)]


def _say_notes(result: "DataCheck") -> None:
    from vopcli.datasets.filter import how_to_add_ranges
    from vopcli.datasets.records import format_names, iter_other_sizes

    for warning in iter_other_sizes(result.annotations.reports):
        console.say(f"Warning: {warning}")
    for note in result.notes:
        console.say(f"Note: {note}")
    for report in result.annotations.reports:
        for words, videos in (
            ("missing", report.without_file),
            ("without captions", report.without_captions),
            ("left out by data.skip", report.skipped),
        ):
            if videos:
                console.say(f"{report.split}: {len(videos)} {words}: {format_names(videos, _MAX_NAMED)}")
        for note in report.notes:
            console.say(f"{report.split}: {note}")
    console.say(f"Searched for videos in {result.looked_in}.")
    if any(report.num_ranges and report.without_file for report in result.annotations.reports):
        console.say(f"Missing ranges: {how_to_add_ranges(result.annotations, result.looked_in)}")
