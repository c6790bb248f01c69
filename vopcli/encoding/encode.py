"""Update an index: encode new videos, optionally remove deleted ones."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import DecodeRule, Fit, Precision
from vopcli.encoding.adapter import adapter_meta, check_adapter, text_side
from vopcli.encoding.query_bank import check_beta, read_bank_captions, updated_bank
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.encoding.sources import EncodePlan, EncodeSource, StoreSource, VideoSource
from vopcli.errors import DataError, UsageError, format_name
from vopcli.files.atomic import beside, note_unfinished, remove_leftovers, replace_file
from vopcli.files.hdf5 import is_hdf5, read_format_name
from vopcli.files.journal import locked
from vopcli.frames.recipe import EARLIER_RECIPES, Recipe, recorded_sampling
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import INDEX_FORMAT, VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, create_index
from vopcli.methods.adapter_file import Adapter
from vopcli.methods.modelscope import read_any_adapter
from vopcli.progress import Progress, interrupts_deferred
from vopcli.resources import cache_folder, usable_cores
from vopcli.search.text_tower import keep_text_tower
from vopcli.video.sampling import DEFAULT_SAMPLING, requested_sampling
from vopcli.video.windows import parse_windows
from vopcli.weights.reader import CheckedT, Weights, read_checked

if TYPE_CHECKING:
    import torch

    from vopcli.methods.encoder import Model

_COPIED_VIDEOS: Final = 256  # copied at a time, to bound memory
_LOG: Final = logging.getLogger(__name__)


def encode(request: EncodeRequest, progress: Progress) -> EncodeSummary:
    """Update an index from its sources: encode new and changed videos, optionally remove deleted ones.

    The index is opened once, and locked until the end.

    Raises:
        UsageError: the options contradict each other or the index.
        WeightsError: the weights are missing or damaged.
        DataError: a source or the index cannot be used, or they do not fit each other or the model.
        BusyError: another process writes the index, or reads it at this moment.
    """
    with contextlib.ExitStack() as stack:
        earlier = stack.enter_context(_extended(request, progress)) if _is_extended(request) else None
        stored = earlier.index.meta if earlier else None
        check_beta(request, earlier.index if earlier else None)
        captions = read_bank_captions(request.bank) if request.bank else []
        adapter = read_any_adapter(request.adapter) if request.adapter else None

        def check(shape: ClipShape) -> tuple[EncodeSource, tuple[torch.device, Precision] | None]:
            recipe = stored.recipe if stored else adapter.recipe if adapter else None
            source = _open_source(request, recipe, shape.image_resolution)
            _check_recipe(request, source, stored)
            # Choose the device before an index is replaced: a missing one must not cost the old index.
            return source, None if earlier else _choose_device(request)

        weights, fingerprint, (source, place) = _read_backbone(request, stored, check, progress)
        name, tuning = _absolute_name(request.config.backbone.weights), adapter_meta(adapter)
        meta = IndexMeta(name, fingerprint, source.recipe, weights.shape.embed_dim, tuning)
        check_adapter(request, adapter, meta, stored, progress)
        writer = earlier or stack.enter_context(_new_index(request, meta, adapter, progress))
        keep_text_tower(weights, fingerprint, request.cache or cache_folder(), progress)
        plan = source.plan(writer.index, progress)
        counts, sampling = (
            (len(plan.to_encode), len(plan.to_copy), plan.num_unchanged),
            source.recipe["sampling"],
        )
        _LOG.debug("videos: %d to encode, %d to copy, %d unchanged, sampled by %s", *counts, sampling)
        summary = EncodeSummary(request.index, num_unchanged=plan.num_unchanged, failures=list(plan.failed))
        model = None
        if plan.to_encode:
            backbone = weights, fingerprint, adapter
            model = _load_model(request, backbone, place or _choose_device(request), progress)
        _add_videos(model, writer, source, plan, summary, progress)
        _finish(request, writer, plan, captions, summary, progress)
    return summary


def _read_backbone(
    request: EncodeRequest,
    stored: IndexMeta | None,
    check: Callable[[ClipShape], CheckedT],
    progress: Progress,
) -> tuple[Weights, str, CheckedT]:
    """Read weights and their fingerprint; call ``check`` with their sizes, before a download.

    Raises:
        DataError: the index was made with other weights.
    """
    cache, name = request.cache or cache_folder(), request.config.backbone.weights
    weights, checked = read_checked(name, check, cache=cache, progress=progress)
    fingerprint = weights.fingerprint()
    if stored and stored.fingerprint != fingerprint:
        raise DataError(
            f"{request.index} was made with another model ({format_name(stored.weights)})",
            hint=f"use --weights {format_name(stored.weights)}, another index, or --overwrite",
        )
    return weights, fingerprint, checked


def _finish(
    request: EncodeRequest,
    writer: IndexWriter,
    plan: EncodePlan,
    captions: Sequence[str],
    summary: EncodeSummary,
    progress: Progress,
) -> None:
    """Prune the index and update its query bank; rewrite the file at most once.

    A replacement that an interrupted run left may hold videos of other sources: they are pruned.
    """
    index = writer.current()
    rows = list(index.rows())
    is_pruned = request.prune or request.overwrite
    kept = _kept_rows(index, plan) if is_pruned else rows
    summary.num_videos = sum(not index.video(row).is_part for row in kept) if is_pruned else len(index)
    summary.num_pruned = len(index) - summary.num_videos
    num_stored = sum(len(done) for done in index.done)
    has_gaps = request.prune and (len(kept) < num_stored or len(index.segments) > 1)
    bank = updated_bank(request, index, kept, captions, progress)
    if bank or has_gaps or summary.num_pruned:
        writer.rewrite(kept, bank)


def _choose_device(request: EncodeRequest) -> tuple[torch.device, Precision]:
    with interrupts_deferred():
        from vopcli.clip.device import choose_device, choose_precision

    device = choose_device(request.config.backbone.device)
    return device, choose_precision(request.config.encoding.precision, device)


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
        batch_size=request.config.encoding.batch_size,
        progress=progress,
    )


def _add_videos(
    model: Model | None,
    writer: IndexWriter,
    source: EncodeSource,
    plan: EncodePlan,
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


def _copy(writer: IndexWriter, plan: EncodePlan) -> None:
    """Copy the embeddings of renamed, moved and copied videos from the rows of the same content."""
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


def _kept_rows(index: VideoIndex, plan: EncodePlan) -> list[int]:
    """Return the rows of the source's videos, and of all videos in folders that cannot be read."""
    hidden = tuple(f"{name}/" for name, _ in plan.failed)
    return [
        video.row
        for video in map(index.video, index.rows())
        if video.path in plan.paths or (hidden and video.file.startswith(hidden))
    ]


def _is_extended(request: EncodeRequest) -> bool:
    """Whether the request adds to an existing index.

    Raises:
        UsageError: the file to replace is not an index.
    """
    path = request.index
    if any(source.absolute() == path.absolute() for source in request.sources):
        raise UsageError(f"{path} is both source and index", hint="name the index last: SRC... INDEX.h5")
    if not path.exists() or not request.overwrite:
        return path.exists()
    if is_hdf5(path) and read_format_name(path) == INDEX_FORMAT.name:
        return False
    raise UsageError(f"{path} is not an index and is not overwritten", hint="name another file, or delete it")


def _open_source(request: EncodeRequest, recipe: dict[str, Any] | None, size: int) -> EncodeSource:
    """Open a frame store, or find videos; ``recipe`` is the default for their sampling.

    Raises:
        UsageError: the sources or options contradict each other.
    """
    stores = [source for source in request.sources if is_hdf5(source)]
    if not request.sources:
        raise UsageError("nothing to encode", hint="name a frame store, or videos and folders")
    data = request.config.data
    asked = requested_sampling(data)
    if not stores:
        sampling = asked or (recorded_sampling(recipe) if recipe else DEFAULT_SAMPLING)
        recipe = recipe or {}
        return VideoSource(
            request.sources,
            Recipe(
                sampling.middle,
                size,
                windows=parse_windows(data.windows or str(recipe.get("windows", "auto"))),
                decode=data.decode or DecodeRule(recipe.get("decode", DecodeRule.EXACT)),
                fit=data.fit or Fit(recipe.get("fit", Fit.CROP)),
            ),
            workers=data.workers or usable_cores(),
            max_pixels=data.max_pixels,
        )
    if len(request.sources) > 1:
        raise UsageError(
            f"{stores[0]} is a frame store and must be the only source",
            hint="encode one store at a time into the same index",
        )
    source = StoreSource(stores[0], size=size)
    if asked and asked.middle != source.sampling:
        raise UsageError(
            f"{stores[0]} holds frames sampled by {source.sampling}, not {asked.middle}",
            hint="omit --sampling and --num-frames, and data.sampling and data.num_frames in vop.yaml",
        )
    if data.fit and data.fit.value != source.recipe["fit"]:
        raise UsageError(
            f"{stores[0]} holds frames fitted by {source.recipe['fit']}, not {data.fit.value}",
            hint="omit --fit, and data.fit in vop.yaml",
        )
    return source


def _check_recipe(request: EncodeRequest, source: EncodeSource, earlier: IndexMeta | None) -> None:
    recorded = EARLIER_RECIPES | earlier.recipe if earlier else source.recipe
    if recorded != source.recipe:
        different = [
            f"{name} {recorded.get(name)}, not {value}"
            for name, value in source.recipe.items()
            if recorded.get(name) != value
        ]
        raise DataError(
            f"{request.index} holds frames of {'; '.join(different)}",
            hint="use the same settings, another index, or --overwrite",
        )


@contextlib.contextmanager
def _extended(request: EncodeRequest, progress: Progress) -> Iterator[IndexWriter]:
    with IndexWriter(request.index) as writer:
        remove_leftovers(request.index)  # while it is locked: no other process rewrites it
        note_unfinished(request.index, progress)
        yield writer


@contextlib.contextmanager
def _new_index(
    request: EncodeRequest, meta: IndexMeta, adapter: Adapter | None, progress: Progress
) -> Iterator[IndexWriter]:
    """Open a new index; with `overwrite` it is built beside the old one, and replaces it in the end.

    Raises:
        BusyError: another process uses the index that is to be replaced.
    """
    path, tensors = request.index, text_side(adapter) if adapter else {}
    if not request.overwrite:
        create_index(path, meta, tensors)
        with _deleted_if_empty(path) as writer:
            yield writer
        return
    with _locked_if_exists(path):
        remove_leftovers(path)
    with beside(path, progress) as new:
        if _continues(new, request, meta):
            progress.note(f"continuing the interrupted --overwrite of {path}")
        else:
            new.unlink(missing_ok=True)
            create_index(new, meta, tensors)
        with _deleted_if_empty(new) as writer:
            yield writer
        with _locked_if_exists(path):
            replace_file(new, path)


def _locked_if_exists(path: Path) -> contextlib.AbstractContextManager[None]:
    return locked(path) if path.exists() else contextlib.nullcontext()


@contextlib.contextmanager
def _deleted_if_empty(path: Path) -> Iterator[IndexWriter]:
    """Open an index; delete it if an error occurs before a video is added."""
    with IndexWriter(path) as writer:
        try:
            yield writer
        except BaseException:
            if not len(writer.current()):
                path.unlink(missing_ok=True)
            raise


def _continues(path: Path, request: EncodeRequest, meta: IndexMeta) -> bool:
    """Whether a replacement that an interrupted run left was begun by the same request."""
    try:
        found = VideoIndex(path)
        return found.meta == meta and (request.bank is not None or not found.bank_tensors)
    except DataError:  # missing, or damaged
        return False


def _absolute_name(weights: str) -> str:
    """Make a path of weights absolute: a search may run in another folder."""
    path = Path(weights).expanduser()
    from vopcli.weights.catalog import find_model

    return weights if find_model(weights) is not None or not path.exists() else str(path.absolute())
