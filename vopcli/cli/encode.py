"""``vop encode``: embeddings of videos into an index."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Precision
from vopcli.config.schema import DEFAULT_BANK_BETA
from vopcli.errors import EXIT_SOME_FAILED


def encode(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="A frame store; or videos, folders, and lists of videos."),
    ],
    index: Annotated[Path, typer.Argument(metavar="INDEX.h5", help="Index to make or extend.")],
    *,
    weights: options.Weights = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="FILE|RUN", help="Adapter file or run folder of `vop train`.")
    ] = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = Precision.AUTO,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Frames in the model at once; what suits the device unless given."),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Frames of videos, as in `vop extract-frames`; the index's own unless given.",
        ),
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a video; at most so many with fps:N.")
    ] = None,
    workers: options.Workers = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop videos that SRC has no longer, and compact the index.")
    ] = False,
    querybank: Annotated[
        Path | None,
        typer.Option(metavar="CAPTIONS.txt", help="Captions, one a line, for `vop search --norm qb`."),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            help="QB-Norm's beta; `vop rescore` says which did best on validation. "
            f"Default: {DEFAULT_BANK_BETA:g} for a new bank."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Encode videos with CLIP into an index that `vop search` reads.

    SRC is a frame store of `vop extract-frames`, or videos, which are decoded on the way. Running it again
    adds what is new or has changed, and goes on where an earlier run was stopped. A query bank that the
    index has is computed anew for the videos it then holds.
    """
    from vopcli.encoding.encode import encode as encode_videos
    from vopcli.encoding.request import EncodeRequest
    from vopcli.video.sampling import asked_sampling

    if weights is None:
        from vopcli.config.load import load_config

        weights = load_config().backbone.weights
    request = EncodeRequest(
        sources,
        index,
        weights=weights,
        adapter=adapter,
        device=device,
        precision=precision,
        batch_size=batch_size,
        sampling=asked_sampling(sampling, num_frames),
        workers=workers,
        prune=prune,
        overwrite=overwrite,
        bank=querybank,
        bank_beta=beta,
    )
    summary = encode_videos(request, console.progress(quiet=quiet))
    if as_json:
        document = {**asdict(summary), "index": str(index)}
        document["failures"] = [{"path": path, "reason": reason} for path, reason in summary.failures]
        console.print_json(document)
    elif not quiet:
        counts = {
            "new": summary.num_new,
            "changed": summary.num_changed,
            "copied": summary.num_copied,
            "unchanged": summary.num_unchanged,
            "pruned": summary.num_pruned,
            "failed": len(summary.failures),
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        console.say(f"{index}: {summary.num_videos} videos ({said or 'nothing to do'})")
    if summary.failures:
        raise typer.Exit(EXIT_SOME_FAILED)
