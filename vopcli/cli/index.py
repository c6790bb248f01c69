"""``vop index``: list the videos of an index, remove some, and copy it to a search engine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Ann
from vopcli.errors import UsageError, format_name, nearest
from vopcli.files.s3 import absolute_file

app = typer.Typer(
    help="List the videos of an index, remove some, or copy it to Milvus.", no_args_is_help=True
)

_Index = Annotated[Path, typer.Argument(metavar="INDEX.h5", help="Index to list or to change.")]


@app.command("ls")
def list_videos(index: _Index, *, as_json: options.Json = False) -> None:
    """List the videos of an index: duration in seconds, numbers of windows and frames, and path.

    Videos that failed or are not encoded yet are not listed; JSON has the failed ones with the reasons.
    """
    from vopcli.index.leftovers import failures_of
    from vopcli.search.stores import open_videos

    opened = open_videos(index)
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
    from vopcli.search.stores import check_is_file

    check_is_file(index, "vop index rm", "and copy it to {name} with --prune")
    with IndexWriter(index) as writer:
        rows: dict[str, list[int]] = {}
        names = {}
        for video in map(writer.index.video, writer.index.rows()):
            rows.setdefault(video.path, []).append(video.row)
            names[video.file] = video.path
        chosen = []
        for path in paths:
            name = path if path in rows else names.get(absolute_file(path))
            if name is None:
                raise UsageError(
                    f"{index} has no video {format_name(path)}",
                    hint=nearest(path, rows) or f"`vop index ls {index}` lists its videos",
                )
            chosen.append(name)
        writer.remove([row for name in dict.fromkeys(chosen) for row in rows[name]])
        console.say(f"{index}: {len(writer.current())} videos ({len(set(chosen))} removed)")


@app.command("copy")
def copy_index(
    source: Annotated[str, typer.Argument(metavar="INDEX", help="Index to copy.")],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="milvus:FILE.db, milvus://HOST:PORT/COLLECTION, or INDEX.h5."),
    ],
    *,
    ann: Annotated[
        Ann | None, typer.Option(help="Vector index of Milvus. [default: as it is, flat if new]")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove rows from Milvus that INDEX lacks.")] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Copy an index to Milvus, for `vop search --index TARGET`, or back to a file.

    An index in Milvus gets the rows that are new or have changed, so an interrupted copy is resumed, and
    several indexes of one model can share a collection. With "flat" a search is exact; "hnsw" and "ivf" are
    approximate, and the fraction of the nearest rows that they find (recall) is printed; to change only this,
    copy a collection to itself. Failed videos and thumbnails are not copied. Needs the extra "milvus"; a
    token is read from MILVUS_TOKEN.
    """
    from dataclasses import asdict

    from vopcli.index.copy import copy_to_file
    from vopcli.search.stores import Copied, CopyRules, open_videos, store_of

    progress = console.progress(quiet=quiet)
    store = store_of(Path(target))
    if store is None and (ann or prune):
        raise UsageError(f"{target} is a file: it takes neither --ann nor --prune", hint="omit them")
    if store is None and store_of(Path(source)) is None:
        raise UsageError("both indexes are files", hint="copy the file itself, with cp")
    videos = open_videos(Path(source))
    if store is None:
        copied = Copied(copy_to_file(videos, Path(target), progress, overwrite=overwrite))
    else:
        copied = store.write(videos, CopyRules(overwrite, prune, ann), progress)
    if as_json:
        console.print_json({"source": source, "target": target, **asdict(copied)})
    elif not quiet:
        counts = f"{copied.num_added} rows added, {copied.num_changed} changed, "
        counts += f"{copied.num_unchanged} unchanged, {copied.num_removed} removed"
        recall = "" if copied.recall is None else f"; recall of the 10 nearest rows: {copied.recall:.3f}"
        console.say(f"{target}: {counts}{recall}")
