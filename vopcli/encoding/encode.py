"""Bring an index up to date with videos: what is new goes through the model, what vanished can be dropped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Precision
from vopcli.encoding.adapter import adapter_meta, check_adapter, text_side
from vopcli.encoding.query_bank import bring_bank_up_to_date, check_beta, read_captions
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.encoding.sources import Plan, Source, StoreSource, VideoSource, is_hdf5
from vopcli.errors import DataError, UsageError
from vopcli.files.hdf5 import read_format_name
from vopcli.frames.recipe import recorded_sampling
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import FORMAT, VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, create_index, rewrite_index
from vopcli.methods.adapter_file import Adapter
from vopcli.methods.modelscope import read_any_adapter
from vopcli.progress import Progress, interrupts_deferred
from vopcli.resources import cache_folder
from vopcli.search.text_tower import keep_text_tower
from vopcli.video.sampling import DEFAULT_SAMPLING
from vopcli.weights.reader import Weights, read_weights, resolve_weights

if TYPE_CHECKING:
    import torch

    from vopcli.methods.encoder import Model

_COPIED_VIDEOS: Final = 256  # at a time


def encode(request: EncodeRequest, progress: Progress) -> EncodeSummary:
    """Bring an index up to date with its sources.

    Raises:
        UsageError: the options contradict each other or the index.
        WeightsError: the weights are missing or damaged.
        DataError: a source or the index cannot be used, or they do not fit each other or the model.
        BusyError: another process writes the index or reads it at this moment.
    """
    cache = request.cache or cache_folder()
    earlier = _read_earlier(request)
    check_beta(request, has_index=earlier is not None)
    captions = read_captions(request.bank) if request.bank else []
    weights = read_weights(resolve_weights(request.weights, cache=cache, progress=progress))
    fingerprint = weights.fingerprint()
    if earlier and earlier.fingerprint != fingerprint:
        raise DataError(
            f"{request.index} was made with another model ({earlier.weights})",
            hint=f"use --weights {earlier.weights}, another index, or --overwrite",
        )
    adapter = None if request.adapter is None else read_any_adapter(request.adapter)
    recipe = earlier.recipe if earlier else adapter.recipe if adapter else None
    source = _open_source(request, recipe, weights.shape.image_resolution)
    _check_recipe(request, source, earlier)
    meta = IndexMeta(
        _lasting_name(request.weights),
        fingerprint,
        source.recipe,
        weights.shape.embed_dim,
        adapter_meta(adapter),
    )
    check_adapter(request, adapter, meta, earlier, progress)
    # before an index is made or replaced: a device that is not there must not cost the old one
    place = _choose(request) if request.overwrite or earlier is None else None
    _make_index(request, meta, text_side(adapter) if adapter else {})
    keep_text_tower(weights, fingerprint, cache, progress)
    summary = EncodeSummary(request.index)
    with IndexWriter(request.index) as writer:
        plan = source.plan({video.path: video for video in writer.index.videos()}, progress)
        summary.num_unchanged = plan.num_unchanged
        summary.failures += plan.failed
        model = None
        if plan.to_encode:
            model = _load_model(request, (weights, fingerprint, adapter), place or _choose(request), progress)
        _bring_up_to_date(model, writer, source, plan, summary, progress)
    if request.prune:
        summary.num_pruned = _prune(request.index, plan)
    bring_bank_up_to_date(request, captions, progress)
    summary.num_videos = len(VideoIndex(request.index))
    return summary


def _choose(request: EncodeRequest) -> tuple[torch.device, Precision]:
    with interrupts_deferred():
        from vopcli.clip.device import choose_device, choose_precision

    device = choose_device(request.device)
    return device, choose_precision(request.precision, device)


def _load_model(
    request: EncodeRequest,
    backbone: tuple[Weights, str, Adapter | None],
    place: tuple[torch.device, Precision],
    progress: Progress,
) -> Model:
    from vopcli.methods.encoder import Model

    weights, fingerprint, adapter = backbone
    device, precision = place
    return Model(
        weights,
        device=device,
        precision=precision,
        adapter=adapter,
        fingerprint=fingerprint,
        batch_size=request.batch_size,
        progress=progress,
    )


def _bring_up_to_date(
    model: Model | None,
    writer: IndexWriter,
    source: Source,
    plan: Plan,
    summary: EncodeSummary,
    progress: Progress,
) -> None:
    if plan.to_encode or plan.to_copy:
        writer.lay_out(plan.to_encode + [video for video, _ in plan.to_copy])
    _copy(writer, plan)
    summary.num_copied = len(plan.to_copy)
    if model is not None:
        from vopcli.encoding.pipeline import encode_videos

        summary.device, summary.precision = str(model.device), model.precision.value
        encode_videos(model, writer, source, plan, summary, progress)


def _copy(writer: IndexWriter, plan: Plan) -> None:
    """Give videos that were renamed, moved or copied the embeddings that the index has of their content."""
    first = len(plan.to_encode)
    for begin in range(0, len(plan.to_copy), _COPIED_VIDEOS):
        copies = plan.to_copy[begin : begin + _COPIED_VIDEOS]
        encoded = []
        for slot, (_, row) in enumerate(copies, first + begin):
            frames, seconds = writer.index.frames_of(row)
            video = writer.index.video(row)
            encoded.append(
                EncodedVideo(
                    slot=slot,
                    embedding=writer.index.embedding_of(row),
                    frames=frames,
                    seconds=seconds,
                    num_real=video.num_real,
                    duration_seconds=video.duration_seconds,
                )
            )
        writer.add(encoded)
    if plan.renamed:
        writer.remove(plan.renamed)


def _prune(path: Path, plan: Plan) -> int:
    """Drop the videos that are not among the plan's, and all that is dead in the file; return how many."""
    index = VideoIndex(path)
    videos = list(index.videos())
    hidden = tuple(
        f"{name}/" for name, _ in plan.failed
    )  # nobody knows what is in a folder that cannot be read
    kept = [
        video.row
        for video in videos
        if video.path in plan.paths or (hidden and str(video.file).startswith(hidden))
    ]
    num_rows = sum(len(done) for done in index.done)
    if len(kept) < num_rows or len(index.segments) > 1:
        rewrite_index(path, kept)
    return len(videos) - len(kept)


def _read_earlier(request: EncodeRequest) -> IndexMeta | None:
    """Return what an index to be extended says of itself.

    Raises:
        UsageError: the file is something else than an index.
    """
    path = request.index
    if any(source.absolute() == path.absolute() for source in request.sources):
        raise UsageError(f"{path} is source and index at once", hint="name the index last: SRC... INDEX.h5")
    if not path.exists():
        return None
    if not request.overwrite:
        return VideoIndex(path).meta
    if is_hdf5(path) and read_format_name(path) == FORMAT.name:
        return None
    raise UsageError(f"{path} is not an index, and is left as it is", hint="name another file, or remove it")


def _open_source(request: EncodeRequest, recipe: dict[str, Any] | None, size: int) -> Source:
    """Open a frame store or find videos, which are sampled as ``recipe`` says unless the request does.

    Raises:
        UsageError: the sources or options contradict each other.
    """
    stores = [source for source in request.sources if is_hdf5(source)]
    if not request.sources:
        raise UsageError("nothing to encode", hint="name a frame store, or videos and folders")
    if not stores:
        from vopcli.resources import usable_cores

        sampling = request.sampling or (recorded_sampling(recipe) if recipe else DEFAULT_SAMPLING)
        workers = request.workers or usable_cores()
        return VideoSource(request.sources, sampling=sampling, size=size, workers=workers)
    if len(request.sources) > 1:
        raise UsageError(
            f"{stores[0]} is a frame store and must be the only source",
            hint="encode one store at a time into the same index",
        )
    if request.sampling is not None:
        raise UsageError(
            "the frames of a store are chosen already", hint="leave --sampling and --num-frames out"
        )
    return StoreSource(stores[0], size=size)


def _check_recipe(request: EncodeRequest, source: Source, earlier: IndexMeta | None) -> None:
    if earlier and earlier.recipe != source.recipe:
        raise DataError(
            f"{request.index} holds frames chosen by {earlier.recipe.get('sampling')}, "
            f"not by {source.recipe['sampling']}",
            hint="use the same sampling, another index, or --overwrite",
        )


def _make_index(
    request: EncodeRequest, meta: IndexMeta, text_tensors: dict[str, NDArray[np.float32]]
) -> None:
    if request.overwrite and request.index.exists():
        with IndexWriter(request.index):
            pass  # nobody else has it open
        request.index.unlink()
    if not request.index.exists():
        create_index(request.index, meta, text_tensors)


def _lasting_name(weights: str) -> str:
    """Return a path of weights in absolute form: a search may run in another folder."""
    path = Path(weights).expanduser()
    from vopcli.weights.catalog import find

    return weights if find(weights) is not None or not path.exists() else str(path.absolute())
