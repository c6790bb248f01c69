"""``vop encode --dry-run``: count the work and estimate its time, without downloading or writing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vopcli.encoding.adapter import given_adapter
from vopcli.encoding.backbone import Backbone, choose_place, chosen_name, keeps_model, read_backbone
from vopcli.encoding.encode import is_extended, is_kept, place_model
from vopcli.encoding.open_source import open_source
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.encoding.sources import EncodePlan
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import rows_bytes
from vopcli.methods.modelscope import own_adapter
from vopcli.progress import Progress
from vopcli.resources import cache_folder, num_workers
from vopcli.search.stores import open_videos
from vopcli.video.estimate import Estimate, format_seconds
from vopcli.weights.catalog import find_model, is_downloaded

if TYPE_CHECKING:
    from vopcli.methods.adapter_file import Adapter
    from vopcli.methods.encoder import Model


def plan_encoding(request: EncodeRequest, progress: Progress) -> EncodeSummary:
    """Return the summary that an encoding of the request would have, with estimates of size and time.

    The time of weights that are not downloaded yet is left out. Adapters are checked when encoding.

    Raises:
        UsageError: the options contradict each other or the index.
        DataError: a source, the index or the weights cannot be used, or they do not fit each other.
    """
    request = replace(request, workers=num_workers(request.config.data.workers))
    index = open_videos(request.index) if is_extended(request) else None
    stored = index.meta if index is not None else None
    adapter = given_adapter(request, progress)
    name, backbone = chosen_name(request, stored), None
    entry = find_model(name)
    is_missing = entry is not None and not is_downloaded(entry, request.cache or cache_folder())
    if stored and keeps_model(request, stored):
        source, width = open_source(request, stored, adapter, progress), stored.embed_dim
    elif entry and is_missing:
        source = open_source(request, stored, adapter, progress, entry.shape)
        width = entry.shape.embed_dim
    else:
        backbone, source = read_backbone(
            request,
            stored,
            lambda shape: open_source(request, stored, adapter, progress, shape),
            progress,
        )
        width = backbone.weights.shape.embed_dim
    plan = source.plan(index, progress)
    summary = _summary(request, index, plan)
    rows = [*plan.to_encode, *(copy.video for copy in plan.to_copy)]
    summary.num_bytes = rows_bytes(rows, width, thumbnails=request.config.encoding.thumbnails)
    summary.estimate = source.estimate(plan)
    if not plan.to_encode:
        return summary
    if is_missing:
        basis = f"{summary.estimate.basis}; without the model, whose weights are not downloaded"
        summary.estimate = replace(summary.estimate, basis=basis)
        return summary
    began = time.monotonic()
    model = _load_model(request, stored, adapter, backbone, progress)
    loading = time.monotonic() - began
    seconds = summary.num_frames * _seconds_per_frame(model, summary.num_frames)
    summary.device, summary.precision = str(model.device), model.precision.value
    summary.estimate = _with_model(
        summary.estimate, loading, seconds, is_concurrent=model.device.type != "cpu"
    )
    return summary


def _load_model(
    request: EncodeRequest,
    stored: IndexMeta | None,
    adapter: Adapter | None,
    backbone: Backbone | None,
    progress: Progress,
) -> Model:
    if backbone is None:
        backbone, _ = read_backbone(request, stored, lambda _: None, progress)
    place = choose_place(request)
    if stored and adapter is None:
        adapter = own_adapter(request.index, stored, progress)
    return place_model(request, backbone, adapter, place, progress)


def _summary(request: EncodeRequest, index: VideoIndex | None, plan: EncodePlan) -> EncodeSummary:
    """Count the videos of a plan; windows do not count."""
    whole = [video for video in plan.to_encode if not video.is_part]
    known = index.find(whole).videos if index is not None else {}
    num_changed = sum(video.path in known for video in whole)
    pruned = (
        [video for video in index.videos() if not is_kept(video, plan)]
        if index is not None and request.prune
        else []
    )
    return EncodeSummary(
        request.index,
        num_new=len(whole) - num_changed,
        num_changed=num_changed,
        num_copied=sum(not copy.video.is_part for copy in plan.to_copy),
        num_unchanged=plan.num_unchanged,
        num_pruned=len(pruned),
        num_videos=len(index) if index is not None else 0,
        num_frames=sum(video.num_frames for video in plan.to_encode),
        failures=plan.failed,
        failed_before=plan.failed_before,
    )


def _seconds_per_frame(model: Model, num_frames: int) -> float:
    """Measure the model on one batch, after a first small one."""
    size, each = model.shape.image_resolution, model.num_frames or 1
    count = max(min(model.batch_size, num_frames) // each, 1) * each
    model.embed(np.zeros((each, size, size, 3), np.uint8))
    began = time.monotonic()
    model.embed(np.zeros((count, size, size, 3), np.uint8))
    return (time.monotonic() - began) / count


def _with_model(estimate: Estimate, loading: float, seconds: float, *, is_concurrent: bool) -> Estimate:
    """Add the times to load the model and to run it, which a GPU does while the CPU decodes."""
    basis = f"{estimate.basis}; model about {format_seconds(seconds)}, estimated from one batch"
    basis += f", and {format_seconds(loading)} to load it"
    if estimate.seconds is None:
        return replace(estimate, basis=basis)
    total = max(estimate.seconds, seconds) if is_concurrent else estimate.seconds + seconds
    return replace(estimate, seconds=loading + total, basis=basis)
