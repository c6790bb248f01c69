"""``vop encode``: encode videos into an index."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from vopcli.encoding.request import EncodeSummary


@options.settings(
    *("backbone", "encoding", "data.sampling", "data.num_frames", "data.windows", "data.decode"),
    *("data.fit", "data.max_pixels", "data.workers", "data.ray"),
    preset=True,
)
def encode(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC... INDEX",
            help="A frame store, or videos, folders, lists of videos; then the index or milvus:...",
        ),
    ],
    *,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|RUN|hf://...", help="Adapter file, run of `vop train`, or hf://owner/name."
        ),
    ] = None,
    config: Config,
    querybank: Annotated[
        Path | None,
        typer.Option(metavar="CAPTIONS.txt", help="Captions, one per line, for `vop search --norm qb`."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove videos that are no longer in SRC, and compact the index.")
    ] = False,
    retry_failed: options.RetryFailed = False,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Encode videos with CLIP into an index for `vop search`.

    SRC is a frame store of `vop extract-frames`, or videos, which are decoded while encoding; they may be on
    S3-compatible storage, such as s3://bucket/folder, with the endpoint and credentials of boto3. New and
    changed videos are added to an existing index, with its model and sampling; other ones are refused. An
    interrupted run is resumed, and a query bank is updated. A video that failed is tried again if its file
    changes, or with --retry-failed.
    """
    from vopcli.encoding.encode import encode as encode_videos
    from vopcli.encoding.request import EncodeRequest

    sources, index = options.split_paths(context, paths, kind="index")
    request = EncodeRequest(
        sources,
        index,
        config,
        adapter=adapter,
        prune=prune,
        overwrite=overwrite,
        retry_failed=retry_failed,
        bank=querybank,
    )
    progress = console.progress(quiet=quiet)
    if dry_run:
        from vopcli.encoding.dry_run import plan_encoding

        summary = plan_encoding(request, progress)
    else:
        summary = encode_videos(request, progress)
    if as_json:
        document = {**asdict(summary), "index": str(index)}
        for name in ("failures", "failed_before"):
            document[name] = [{"path": path, "reason": reason} for path, reason in getattr(summary, name)]
        console.print_json(document)
    elif dry_run or not quiet:
        _print_summary(summary)
    if summary.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_summary(summary: "EncodeSummary") -> None:
    counts = {
        "new": summary.num_new,
        "changed": summary.num_changed,
        "copied": summary.num_copied,
        "unchanged": summary.num_unchanged,
        "pruned": summary.num_pruned,
        "failed": len(summary.failures),
        "failed before (--retry-failed tries them again)": len(summary.failed_before),
    }
    changes = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"
    if summary.estimate:
        work = f"{summary.num_frames} frames, {summary.num_bytes / 1e6:.1f} MB"
        console.print_line(
            console.printable(f"{summary.index} would get {work}: {changes}; {summary.estimate}")
        )
    else:
        console.say(f"{summary.index}: {summary.num_videos} videos ({changes})")
