"""``vop index``: list the videos of an index, and remove single ones."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.errors import UsageError, format_name, nearest

app = typer.Typer(help="List the videos of an index, or remove some.", no_args_is_help=True)

_Index = Annotated[Path, typer.Argument(metavar="INDEX.h5", help="Index to list or to change.")]


@app.command("ls")
def list_videos(index: _Index, *, as_json: options.Json = False) -> None:
    """List the videos of an index: path, duration in seconds, windows, frames of all of them.

    Videos that failed or are not encoded yet are not listed; JSON has the failed ones with the reasons.
    """
    from vopcli.index.leftovers import failures_of
    from vopcli.index.reader import VideoIndex

    opened = VideoIndex(index)
    parts: dict[str, list[int]] = {}  # real frames of the windows of long videos
    found = list(map(opened.video, opened.rows()))
    for part in found:
        if part.is_part:
            parts.setdefault(part.file, []).append(part.num_real)
    videos = sorted((video for video in found if not video.is_part), key=lambda one: os.fsencode(one.path))
    documents = [
        {
            "path": video.path,
            "file": video.file,
            "duration_seconds": video.duration_seconds,
            "windows": len(windows := parts.get(video.file, [])),
            "frames": video.num_real + sum(windows),
        }
        for video in videos
    ]
    if as_json:
        failed = [{"path": path, "reason": video.reason} for path, video in failures_of(opened).items()]
        console.print_json({"index": str(index), "videos": documents, "failed": failed})
        return
    rows = [
        [f"{one['duration_seconds']:.1f}", str(one["windows"]), str(one["frames"]), str(one["path"])]
        for one in documents
    ]
    console.print_table(["seconds", "windows", "frames", "video"], rows)


@app.command("rm")
def remove_videos(
    index: _Index,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Paths as `vop index ls` lists them, or files.")
    ],
) -> None:
    """Remove videos from an index; their files are kept.

    The next `vop encode` or `vop search` of the same folder adds them again, unless their files are gone.
    Space is freed by `vop encode --prune`, which also brings a query bank up to date.
    """
    from vopcli.index.writer import IndexWriter

    with IndexWriter(index) as writer:
        rows: dict[str, list[int]] = {}
        names = {}
        for video in map(writer.index.video, writer.index.rows()):
            rows.setdefault(video.path, []).append(video.row)
            names[video.file] = video.path
        chosen = []
        for path in paths:
            name = path if path in rows else names.get(os.path.abspath(path))  # noqa: PTH100  (of any bytes)
            if name is None:
                raise UsageError(
                    f"{index} has no video {format_name(path)}",
                    hint=nearest(path, rows) or f"`vop index ls {index}` lists its videos",
                )
            chosen.append(name)
        writer.remove([row for name in dict.fromkeys(chosen) for row in rows[name]])
        console.say(f"{index}: {len(writer.current())} videos ({len(set(chosen))} removed)")
