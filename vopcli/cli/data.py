"""``vop data``: look after the videos and captions of a benchmark."""

from typing import TYPE_CHECKING

import typer

from vopcli.cli import console, options
from vopcli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from vopcli.datasets.check import DataCheck
    from vopcli.datasets.records import SplitReport

_COLUMNS = ("split", "listed", "published", "with captions", "with file", "used", "captions", "missing")
_MOST_NAMED = 10

app = typer.Typer(help="Check the videos and captions of a benchmark.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep a single command from standing for the group."""


@app.command()
def check(
    *,
    preset: options.Preset = None,
    dataset: options.Dataset = None,
    root: options.Root = None,
    captions: options.Captions = None,
    frames: options.Frames = None,
    splits: options.Splits = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
) -> None:
    """Count for each split what is listed, has captions, has a file, and is used; name what is missing.

    Videos are looked for in the frame store, if there is one, else among the files below the root. Ends with
    4 if a video is missing. Names of missing videos go to stderr, ten of a split, and notes; with --json all.
    """
    from vopcli.config.load import load_config, override
    from vopcli.datasets.check import check_data

    given = {"data": {"dataset": dataset, "root": root, "captions": captions, "frames": frames}}
    settings = override(load_config(config, preset=preset), given, assignments or ())
    result = check_data(settings.data, options.names(splits), store_must_exist=frames is not None)
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
    from vopcli.datasets.records import format_names

    for note in result.notes:
        console.say(f"Note: {note}")
    for report in result.annotations.reports:
        for words, videos in (
            ("missing", report.without_file),
            ("without captions", report.without_captions),
            ("left out as asked for", report.skipped),
        ):
            if videos:
                console.say(f"{report.split}: {len(videos)} {words}: {format_names(videos, _MOST_NAMED)}")
        for note in report.notes:
            console.say(f"{report.split}: {note}")
    console.say(f"Looked for videos in {result.looked_in}.")
