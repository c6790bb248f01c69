"""``vop data``: look after the videos and captions of a benchmark."""

from typing import Any

import typer

from vopcli.cli import console, options
from vopcli.errors import EXIT_SOME_FAILED

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
        console.print_json(result)
    else:
        console.print_table(_COLUMNS, [_row(name, split) for name, split in result["splits"].items()])
        _say_notes(result)
    raise typer.Exit(0 if result["is_complete"] else EXIT_SOME_FAILED)


def _row(name: str, split: dict[str, Any]) -> list[str]:
    fields = ("listed", "published", "with_captions", "with_file", "used", "captions")
    cells = ["" if split[field] is None else str(split[field]) for field in fields]
    return [name, *cells, str(len(split["without_file"]))]


def _say_notes(result: dict[str, Any]) -> None:
    from vopcli.datasets.records import format_names

    kinds = {
        "without_file": "missing",
        "without_captions": "without captions",
        "skipped": "left out as asked for",
    }
    for note in result["notes"]:
        console.say(f"Note: {note}")
    for name, split in result["splits"].items():
        for kind, words in kinds.items():
            if videos := split[kind]:
                console.say(f"{name}: {len(videos)} {words}: {format_names(videos, _MOST_NAMED)}")
        for note in split["notes"]:
            console.say(f"{name}: {note}")
    console.say(f"Looked for videos in {result['looked_in']}.")
