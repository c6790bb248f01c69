"""Update an index: encode new videos, optionally remove deleted ones."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Precision
from vopcli.encoding.adapter import adapter_meta, check_adapter, given_adapter, text_side
from vopcli.encoding.backbone import Backbone, absolute_name, choose_place, keeps_model, read_backbone
from vopcli.encoding.open_source import open_source
from vopcli.encoding.query_bank import check_beta, read_bank_captions, updated_bank
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.encoding.sources import EncodePlan, EncodeSource, VideoSource
from vopcli.errors import DataError, UsageError
from vopcli.files.atomic import beside, note_unfinished, remove_leftovers, replace_file
from vopcli.files.hdf5 import may_replace
from vopcli.files.journal import locked
from vopcli.index.leftovers import failures_of
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import FAILED, INDEX_FORMAT, VideoIndex
from vopcli.index.thumbnails import slots_of
from vopcli.index.writer import EncodedVideo, IndexWriter, VideoWriter, create_index
from vopcli.progress import Progress
from vopcli.resources import cache_folder
from vopcli.search.stores import is_in_engine, store_of
from vopcli.search.text_tower import keep_text_tower
from vopcli.video.ray_pool import opened_workers
from vopcli.video.video_file import VideoFile, is_same_file

if TYPE_CHECKING:
    import torch

    from vopcli.methods.adapter_file import Adapter
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
        BusyError: another process writes the index.
    """
    with contextlib.ExitStack() as stack:
        request = replace(request, workers=stack.enter_context(opened_workers(request.decoding, progress)))
        earlier = stack.enter_context(_extended(request, progress)) if is_extended(request) else None
        check_beta(request, earlier.index if earlier else None)
        captions = read_bank_captions(request.bank) if request.bank else []
        work = _open_work(request, earlier, stack, progress)
        plan = work.source.plan(work.writer.index, progress)
        counts = len(plan.to_encode), len(plan.to_copy), plan.num_unchanged
        sampling = work.source.recipe["sampling"]
        _LOG.debug("videos: %d to encode, %d to copy, %d unchanged, sampled by %s", *counts, sampling)
        summary = EncodeSummary(request.index, num_unchanged=plan.num_unchanged, failures=list(plan.failed))
        summary.failed_before = plan.failed_before
        model = _load_model(request, work, progress) if plan.to_encode else None
        thumbnails = request.config.encoding.thumbnails and not is_in_engine(request.index)
        _add_videos(model, work.writer, work.source, plan, summary, progress, thumbnails=thumbnails)
        _drop_windows(work.writer, plan, summary)
        if isinstance(work.source, VideoSource):
            _note_failures(work.writer, plan, summary)
        _finish(request, work.writer, plan, captions, summary, progress)
    return summary


@dataclass
class _Work:
    """An open index and its source; of an existing index, the model is read when a video is to be encoded."""

    writer: VideoWriter
    source: EncodeSource
    adapter: Adapter | None
    backbone: Backbone | None = None
    place: tuple[torch.device, Precision] | None = None


def _open_work(
    request: EncodeRequest, earlier: VideoWriter | None, stack: contextlib.ExitStack, progress: Progress
) -> _Work:
    stored = earlier.index.meta if earlier else None
    adapter = given_adapter(request, progress)

    def check(shape: ClipShape) -> tuple[EncodeSource, tuple[torch.device, Precision] | None]:
        source = open_source(request, stored, adapter, progress, shape)
        # Choose the device before an index is replaced: a missing one must not cost the old index.
        return source, None if earlier else choose_place(request)

    if earlier and stored and keeps_model(request, stored):
        work = _Work(earlier, open_source(request, stored, adapter, progress), adapter)
        if adapter:
            meta = replace(stored, adapter=adapter_meta(adapter))
            check_adapter(request, adapter, meta, stored, progress)
        return work
    backbone, (source, place) = read_backbone(request, stored, check, progress)
    name = stored.weights if stored else absolute_name(request.config.backbone.model)
    tuning, width = adapter_meta(adapter), backbone.weights.shape.embed_dim
    meta = IndexMeta(name, backbone.fingerprint, source.recipe, width, tuning)
    if adapter or not stored:
        check_adapter(request, adapter, meta, stored, progress)
    writer = earlier or stack.enter_context(_new_index(request, meta, adapter, progress))
    keep_text_tower(*backbone, request.cache or cache_folder(), progress)
    return _Work(writer, source, adapter, backbone, place)


def _load_model(request: EncodeRequest, work: _Work, progress: Progress) -> Model:
    stored = work.writer.index.meta
    place = work.place or choose_place(request)
    from vopcli.methods.modelscope import own_adapter

    adapter = work.adapter or own_adapter(request.index, stored, progress)
    if work.backbone is None:
        work.backbone, _ = read_backbone(request, stored, lambda _: None, progress)
        keep_text_tower(*work.backbone, request.cache or cache_folder(), progress)
    return place_model(request, work.backbone, adapter, place, progress)


def place_model(
    request: EncodeRequest,
    backbone: Backbone,
    adapter: Adapter | None,
    place: tuple[torch.device, Precision],
    progress: Progress,
) -> Model:
    """Put the model that encodes on its device, in its precision."""
    from vopcli.methods.encoder import Model

    return Model(
        backbone.weights,
        device=place[0],
        precision=place[1],
        adapter=adapter,
        fingerprint=backbone.fingerprint,
        batch_size=request.config.encoding.batch_size,
        progress=progress,
    )


def _drop_windows(writer: VideoWriter, plan: EncodePlan, summary: EncodeSummary) -> None:
    """Mark the windows of videos that failed as replaced: without the others, a search would mislead."""
    failed = [plan.files[path] for path, _ in summary.failures if path in plan.files]
    if not failed:
        return
    known, dropped = writer.current().find(failed), []
    for file in failed:
        video = known.videos.get(file.path)
        if video is None or not is_same_file(video, file):
            dropped += [part.row for part in known.parts_of(file)]
    writer.remove(dropped)


def _note_failures(writer: VideoWriter, plan: EncodePlan, summary: EncodeSummary) -> None:
    """Remember the failures of this run in place of earlier ones of the same videos."""
    kept = {path for path, _ in plan.failed_before}
    outdated = [
        video.row
        for path, video in failures_of(writer.current()).items()
        if path in plan.files and path not in kept
    ]
    if outdated:
        writer.remove(outdated)
    writer.note_failures(
        [(plan.files[path], reason) for path, reason in summary.failures if path in plan.files]
    )


def _finish(
    request: EncodeRequest,
    writer: VideoWriter,
    plan: EncodePlan,
    captions: Sequence[str],
    summary: EncodeSummary,
    progress: Progress,
) -> None:
    """Prune the index and update its query bank; rewrite the file at most once.

    A replacement that an interrupted run left may hold videos of other sources: they are pruned.
    """
    is_pruned = request.prune or request.overwrite
    if is_pruned:
        failed = failures_of(writer.current()).values()
        writer.remove([video.row for video in failed if not is_kept(video, plan)])
    index = writer.current()
    if not (is_pruned or captions or index.bank_tensors):
        summary.num_videos = len(index)
        return
    rows = list(index.rows())
    kept = [row for row in rows if is_kept(index.video(row), plan)] if is_pruned else rows
    summary.num_videos = sum(not index.video(row).is_part for row in kept) if is_pruned else len(index)
    summary.num_pruned = len(index) - summary.num_videos
    num_stored = [np.count_nonzero(segment.status != FAILED) for segment in index.segments]
    has_gaps = request.prune and (len(kept) < sum(num_stored) or np.count_nonzero(num_stored) > 1)
    bank = updated_bank(request, index, kept, captions, progress)
    if bank or has_gaps or len(kept) < len(rows):
        writer.rewrite(kept, bank)


def _add_videos(
    model: Model | None,
    writer: VideoWriter,
    source: EncodeSource,
    plan: EncodePlan,
    summary: EncodeSummary,
    progress: Progress,
    *,
    thumbnails: bool,
) -> None:
    if plan.to_encode or plan.to_copy:
        writer.lay_out(plan.to_encode + [copy.video for copy in plan.to_copy], thumbnails=thumbnails)
    _copy(writer, plan)
    summary.num_copied = sum(not copy.video.is_part for copy in plan.to_copy)
    if model is not None:
        from vopcli.encoding.pipeline import encode_videos

        summary.device, summary.precision = str(model.device), model.precision.value
        encode_videos(model, writer, source, plan, summary, progress, thumbnails=thumbnails)


def _copy(writer: VideoWriter, plan: EncodePlan) -> None:
    """Copy the embeddings of renamed, moved and copied videos from the rows of the same content."""
    first = len(plan.to_encode)
    for begin in range(0, len(plan.to_copy), _COPIED_VIDEOS):
        copies = plan.to_copy[begin : begin + _COPIED_VIDEOS]
        encoded = []
        for slot, copy in enumerate(copies, first + begin):
            frames, seconds = writer.index.frames_of(copy.row)
            video = writer.index.video(copy.row)
            encoded.append(
                EncodedVideo(
                    slot=slot,
                    embedding=writer.index.embedding_of(copy.row),
                    frames=frames,
                    seconds=seconds,
                    num_real=video.num_real,
                    duration_seconds=video.duration_seconds,
                    thumbnails=slots_of(writer.index, copy.row),
                )
            )
        writer.add(encoded, [row for copy in copies for row in copy.replaced])


def is_kept(video: VideoFile, plan: EncodePlan) -> bool:
    """Whether a video is in the source, or may be because its folder cannot be read."""
    return video.path in plan.files or any(video.file.startswith(f"{name}/") for name, _ in plan.failed)


def is_extended(request: EncodeRequest) -> bool:
    """Whether the request adds to an existing index.

    Raises:
        UsageError: the index is also a source.
        DataError: the file to replace is not an index.
    """
    path = request.index
    if store := store_of(path):
        return store.exists() and not request.overwrite  # asks first: no work for a server that is away
    if any(source.absolute() == path.absolute() for source in request.sources):
        raise UsageError(f"{path} is both source and index", hint="name the index last: SRC... INDEX.h5")
    if not path.exists() or not request.overwrite:
        return path.exists()
    if may_replace(path, INDEX_FORMAT):
        return False
    raise DataError(f"{path} is not an index and is not overwritten", hint="name another file, or delete it")


@contextlib.contextmanager
def _extended(request: EncodeRequest, progress: Progress) -> Iterator[VideoWriter]:
    if store := store_of(request.index):
        with store.extend() as extended:
            yield extended
        return
    with IndexWriter(request.index) as writer:
        remove_leftovers(request.index)  # while it is locked: no other process rewrites it
        note_unfinished(request.index, progress)
        yield writer


@contextlib.contextmanager
def _new_index(
    request: EncodeRequest, meta: IndexMeta, adapter: Adapter | None, progress: Progress
) -> Iterator[VideoWriter]:
    """Open a new index; with `overwrite` it is built beside the old one, and replaces it in the end.

    Raises:
        BusyError: another process uses the index that is to be replaced.
    """
    path, tensors = request.index, text_side(adapter) if adapter else {}
    if store := store_of(path):
        with store.create(meta, tensors, progress, overwrite=request.overwrite) as new_in_engine:
            yield new_in_engine
        return
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
    """Open an index; delete it if an error occurs before a video or a window is added."""
    with IndexWriter(path) as writer:
        try:
            yield writer
        except BaseException:
            if writer.current().is_empty:
                path.unlink(missing_ok=True)
            raise


def _continues(path: Path, request: EncodeRequest, meta: IndexMeta) -> bool:
    """Whether a replacement that an interrupted run left was begun by the same request."""
    try:
        found = VideoIndex(path)
        return found.meta == meta and (request.bank is not None or not found.bank_tensors)
    except DataError:  # missing, or damaged
        return False
