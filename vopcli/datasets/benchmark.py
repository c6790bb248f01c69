"""The benchmark of the settings: its annotations, matched with video files or a frame store."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.config.schema import DataConfig
from vopcli.datasets.benchmarks.registry import (
    BENCHMARKS,
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    index_dataset_keys,
    read_dataset,
)
from vopcli.datasets.captions import CaptionFile, captioned_ranges, match_captions, read_captions
from vopcli.datasets.reading import read_ids
from vopcli.datasets.records import Annotations, format_names, iter_other_sizes
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import UsageError
from vopcli.frames.plan import ExtractRequest, find
from vopcli.frames.store import FrameStore
from vopcli.progress import Progress


def require_benchmark(data: DataConfig) -> tuple[DatasetName, Path]:
    """Return the benchmark of the settings and its folder.

    Raises:
        UsageError: `data.dataset` or `data.root` is not set.
    """
    if data.dataset is None:
        raise UsageError("no benchmark is given", hint="set data.dataset in vop.yaml, or pass --dataset")
    if data.root is None:
        raise UsageError(
            f"the folder of {data.dataset.value} is not given",
            hint="set data.root in vop.yaml, or pass --root: the folder of the annotation files and videos",
        )
    return data.dataset, Path(data.root)


def read_benchmark(data: DataConfig, splits: Collection[str] | None = None) -> Annotations:
    """Read the annotations of the benchmark, without looking for its videos.

    Args:
        data: settings of the benchmark.
        splits: splits to read; None: all splits of the release.

    Raises:
        UsageError: no benchmark is set, or it has no such split or list of videos to skip.
        DataError: an annotation file is missing or malformed.
    """
    dataset, root = require_benchmark(data)
    return read_dataset(
        dataset,
        root,
        splits=splits,
        skip_ids=_skipped(dataset, data.skip),
        last_caption_only=data.last_caption_only,
        queries=data.queries,
    )


def read_stored_annotations(
    data: DataConfig, store: FrameStore, splits: Collection[str] | None = None
) -> Annotations:
    """Read annotations and match them with a frame store; the reports name the missing videos.

    Args:
        data: settings of the benchmark or the caption file.
        store: the frame store.
        splits: splits to read of a benchmark; None: all of the release. Of a caption file all are read.

    Raises:
        UsageError: neither is set, or the benchmark has no such split or list of videos to skip.
        DataError: a file is missing or damaged, a name is ambiguous, or the store has none of the videos.
    """
    if data.captions:
        return _match_stored(_read_captions(data, data.captions), store)
    dataset, _ = require_benchmark(data)
    keys = [video.path for video in store.videos]
    files = index_dataset_keys(dataset, keys, prefer=_preferred(data))
    return find_dataset_files(read_benchmark(data, splits), dataset, files, store=str(store.path))


def _read_captions(data: DataConfig, path: str) -> CaptionFile:
    captions = read_captions(Path(path))
    return captions.without_ranges() if data.queries is QueryUnit.SENTENCES else captions


def _match_stored(captions: CaptionFile, store: FrameStore) -> Annotations:
    keys = [video.path for video in store.videos]
    if not captions.has_ranges:
        return match_captions(captions, keys)
    ranges = {video.path: {part.window for part in store.known.parts_of(video)} for video in store.videos}
    durations = {video.path: video.duration_seconds for video in store.videos}
    return match_captions(captions, keys, ranges=ranges, durations=durations)


def find_benchmark_videos(data: DataConfig, annotations: Annotations) -> tuple[VideoFiles, Annotations]:
    """Find the video files below the benchmark's folder; the reports name the missing ones.

    Raises:
        DataError: a video has several files, or none of the videos has one.
    """
    dataset, root = require_benchmark(data)
    files = index_dataset_files(dataset, root, prefer=_preferred(data))
    return files, find_dataset_files(annotations, dataset, files)


def _preferred(data: DataConfig) -> list[str]:
    suffixes = (data.prefer or "").split(",")
    return [f".{suffix.strip().lstrip('.')}" for suffix in suffixes if suffix.strip()]


def _skipped(dataset: DatasetName, skip: str | None) -> Collection[str]:
    if skip is None:
        return ()
    is_file = skip not in BENCHMARKS[dataset].skip_lists and Path(skip).is_file()
    return read_ids(Path(skip))[0] if is_file else get_skip_list(dataset, skip)


def complete_request(
    request: ExtractRequest, splits: Collection[str] | None, progress: Progress
) -> ExtractRequest:
    """Add a benchmark's videos (unless the request has sources) and their time windows to a request.

    Args:
        request: without sources, it gets the listed videos below the benchmark's folder.
        splits: splits whose videos are added; None: all splits of the release.
        progress: receives a warning for missing videos.

    Raises:
        UsageError: no benchmark is set, it has no such split, or both splits and sources are given.
        DataError: the annotations are damaged, a video has several files, or none of the videos has one.
    """
    if splits and request.sources:
        raise UsageError(
            "--split selects videos below the benchmark's folder and cannot be used with other videos",
            hint="remove --split, or the paths of videos",
        )
    data = request.data
    annotations = read_benchmark(data, splits)
    dataset, root = require_benchmark(data)
    if request.sources:
        request = replace(request, found=find(request))
        keys = [video.path for video in find(request)[0]]
        files = index_dataset_keys(dataset, keys, prefer=_preferred(data))
        found = find_dataset_files(annotations, dataset, files)
    else:
        files, found = find_benchmark_videos(data, annotations)
        request = replace(request, sources=[root], names=sorted(found.windows(), key=os.fsencode))
    for folder in files.unreadable:
        progress.warn(f"{folder} cannot be read")
    for warning in iter_other_sizes(found.reports):
        progress.warn(warning)
    for report in found.reports:
        if missing := report.without_file:
            progress.warn(f"{report.split}: {len(missing)} videos have no file: {format_names(missing)}")
    windows = {key: window for key, window in found.windows().items() if window is not None}
    return replace(request, annotated=windows)


def add_ranges(request: ExtractRequest, progress: Progress, *, must_exist: bool = False) -> ExtractRequest:
    """Add the ranges that captions describe to a request, as windows of their videos.

    Args:
        request: with the caption file in its settings; unchanged without.
        progress: receives a warning about ranges of other videos.
        must_exist: refuse a missing caption file; it may be written after the extraction.

    Raises:
        DataError: the caption file is damaged, or missing though it must exist; or a name is ambiguous.
    """
    path = request.data.captions
    if path is None or not (must_exist or Path(path).exists()):
        return request
    captions = _read_captions(request.data, path)
    if not captions.has_ranges:
        return request
    request = replace(request, found=find(request))
    ranges, missing = captioned_ranges(captions, [video.path for video in find(request)[0]])
    if missing:
        progress.warn(
            f"{captions.path}: {len(missing)} videos with ranges are not among the videos to extract: "
            f"{format_names(missing)}"
        )
    return replace(request, ranges=ranges)
