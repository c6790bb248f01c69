"""`vop extract-frames`: decode videos once."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Codec, Resize
from vopcli.errors import UsageError
from vopcli.video.find_videos import VIDEO_SUFFIXES


def extract_frames(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[SRC]... OUT.h5",
            help="Folders of videos, videos, or text files that name a video a line; last the frame store to "
            "make or to extend. Without SRC the videos of a benchmark are taken.",
        ),
    ],
    *,
    preset: options.Preset = None,
    dataset: options.Dataset = None,
    root: options.Root = None,
    splits: options.Splits = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="uniform or xpool: middles of equal segments; clip4clip: one each second, of these "
            "the first (clip4clip:head), the last (tail), or evenly spread ones; fps:N: N each second. "
            "[default: uniform]",
        ),
    ] = None,
    num_frames: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Frames of a video; with fps:N the most. [default: 12]"),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=99,
            help="Frames to keep of each segment, an odd number: training draws one of them each time, all "
            "else takes the middle one. [default: 1]",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=2048, help="Side of the square frames in pixels. [default: 224]")
    ] = None,
    resize: Annotated[
        Resize | None,
        typer.Option(
            help="bicubic antialiases, as CLIP's own; legacy-tensor does not, as X-Pool. [default: bicubic]"
        ),
    ] = None,
    codec: Annotated[
        Codec | None,
        typer.Option(
            help="raw reads fastest, jpeg (quality 95) takes a seventh of the space. [default: raw]"
        ),
    ] = None,
    workers: options.Workers = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first video that fails.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    r"""Decode videos once and keep their frames in a frame store.

    Run again, it adds what is new or changed. Of a benchmark only the videos are taken that its splits list,
    and of each only the part that its captions speak of. Folders are searched recursively, without hidden
    and system folders, for files ending in SUFFIXES; any file may be named by itself.
    Bytes of names that are not UTF-8 stand in JSON as \udc80 to \udcff.
    """
    from vopcli.config.load import load_config, override
    from vopcli.datasets.benchmark import complete_request
    from vopcli.frames.extract import extract
    from vopcli.frames.plan import ExtractRequest
    from vopcli.video.sampling import asked_sampling

    *sources, store = paths
    given = {"data": {"dataset": dataset, "root": root}}
    settings = override(load_config(config, preset=preset), given, assignments or ()).data
    if not sources and settings.dataset is None:
        raise UsageError(
            "no videos are named",
            hint="name them before the store: SRC... OUT.h5; or a benchmark with --dataset",
        )
    counts = num_frames or settings.num_frames, candidates or settings.candidates
    request = ExtractRequest(
        sources,
        store,
        sampling=asked_sampling(sampling or settings.sampling, *counts),
        size=size or settings.size,
        resize=resize or settings.resize,
        codec=codec.value if codec else None,
        workers=workers,
        overwrite=overwrite,
        retry_failed=retry_failed,
        strict=strict,
        dry_run=dry_run,
    )
    if splits and settings.dataset is None:
        raise UsageError("--split is for a benchmark", hint="name one with --dataset, or leave --split out")
    progress = console.progress(quiet=quiet)
    if settings.dataset is not None:
        request = complete_request(request, settings, options.names(splits), progress)
    summary = extract(request, progress)
    for path, reason in summary.failed_before + summary.unreadable:
        console.say(f"Failed: {path}: {reason}")
    if as_json:
        console.print_json(summary.to_json())
    else:
        console.print_line(console.printable(str(summary)))
    raise typer.Exit(summary.exit_code)


extract_frames.__doc__ = (extract_frames.__doc__ or "").replace("SUFFIXES", " ".join(VIDEO_SUFFIXES))
