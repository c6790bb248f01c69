"""``vop extract-frames``: decode videos into a frame store."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.errors import UsageError
from vopcli.resources import cache_folder
from vopcli.video.find_videos import VIDEO_SUFFIXES


@options.settings(
    *("data.captions", "data.dataset", "data.root", "data.sampling", "data.num_frames", "data.candidates"),
    *("data.size", "data.resize", "data.fit", "data.codec", "data.windows", "data.decode"),
    *("data.max_pixels", "data.workers", "data.ray", "backbone.weights", "backbone.activation"),
    preset=True,
)
def extract_frames(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[SRC]... OUT.h5",
            help="Videos, folders or text files of video names; then the store to write.",
        ),
    ],
    *,
    splits: options.Splits = None,
    config: Config,
    retry_failed: options.RetryFailed = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first video that fails.")] = False,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    r"""Decode videos once and write their frames to a frame store.

    New and changed videos are added to an existing store. Without SRC, the videos listed in the benchmark's
    splits are decoded, each limited to the part that its captions describe. If captions have `start` and
    `end`, these ranges are decoded as well as the whole video. Folders are searched recursively, except
    hidden and system folders, for files ending in SUFFIXES; a file named explicitly may have any suffix.
    Folders and videos may be on S3-compatible storage, such as s3://bucket/folder, with the endpoint and
    credentials of boto3. With --weights, the frames of a new store have the size, fit and resampling that the
    model takes. JSON output writes non-UTF-8 bytes of file names as \udc80 to \udcff.
    """
    from vopcli.datasets.benchmark import add_ranges, complete_request
    from vopcli.frames.extract import extract
    from vopcli.frames.plan import ExtractRequest

    backbone, needs_sources = config.backbone, config.data.dataset is None
    sources, store = options.split_paths(context, paths, kind="frame store", needs_sources=needs_sources)
    if splits and config.data.dataset is None:
        raise UsageError("--split needs a benchmark", hint="choose one with --dataset, or omit --split")
    shape, progress = None, console.progress(quiet=quiet)
    if backbone.weights:
        from vopcli.weights.reader import read_shape

        shape = read_shape(backbone.weights, cache=cache_folder(), activation=backbone.activation)
        if config.data.size not in {None, shape.image_resolution}:
            taken = f"{backbone.weights} takes frames of {shape.image_resolution} pixels"
            progress.warn(f"{taken}, not {config.data.size} as set by data.size or --size")
    request = ExtractRequest(
        sources,
        store,
        config.data,
        shape,
        overwrite=overwrite,
        retry_failed=retry_failed,
        strict=strict,
        dry_run=dry_run,
    )
    if config.data.dataset is not None:
        request = complete_request(request, options.split_names(splits), progress)
    else:
        request = add_ranges(request, progress, must_exist=context.params["captions"] is not None)
    summary = extract(request, progress)
    for path, reason in summary.unreadable:
        console.say(f"Failed: {path}: {reason}")
    if as_json:
        console.print_json(summary.to_json())
    else:
        console.print_line(console.printable(str(summary)))
    raise typer.Exit(summary.exit_code)


extract_frames.__doc__ = (extract_frames.__doc__ or "").replace("SUFFIXES", " ".join(VIDEO_SUFFIXES))
