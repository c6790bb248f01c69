"""The benchmark that the settings name: its annotations, and which of its videos there are."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from vopcli.config.choices import DatasetName
from vopcli.config.schema import DataConfig
from vopcli.datasets.benchmarks.registry import (
    BENCHMARKS,
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    index_dataset_keys,
    read_dataset,
)
from vopcli.datasets.captions import match_captions, read_captions
from vopcli.datasets.reading import read_ids
from vopcli.datasets.records import Annotations, format_names
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import UsageError
from vopcli.frames.plan import ExtractRequest, find
from vopcli.frames.store import FrameStore
from vopcli.progress import Progress


def require_benchmark(data: DataConfig) -> tuple[DatasetName, Path]:
    """Return the benchmark and its folder.

    Raises:
        UsageError: the settings name none, or not its folder.
    """
    if data.dataset is None:
        raise UsageError("no benchmark is named", hint="write data.dataset in vop.yaml, or use --dataset")
    if data.root is None:
        raise UsageError(
            f"the folder of {data.dataset.value} is not named",
            hint="write data.root in vop.yaml, or use --root: it holds the annotation files and the videos",
        )
    return data.dataset, Path(data.root)


def read_benchmark(data: DataConfig, splits: Collection[str] | None = None) -> Annotations:
    """Read the annotations; no video is looked for.

    Args:
        data: names the benchmark.
        splits: those to read; None: all that are there.

    Raises:
        UsageError: the settings name no benchmark, or it lacks a split or a list of videos to leave out.
        DataError: an annotation file is missing or is not what it should be.
    """
    dataset, root = require_benchmark(data)
    return read_dataset(
        dataset,
        root,
        splits=splits,
        skip_ids=_skipped(dataset, data.skip),
        last_caption_only=data.last_caption_only,
    )


def read_stored_annotations(
    data: DataConfig, store: FrameStore, splits: Collection[str] | None = None
) -> Annotations:
    """Read annotations and match them with the videos of a frame store; the reports say which it lacks.

    Args:
        data: names a benchmark or a file of captions.
        store: the frames.
        splits: of a benchmark, those to read; None: all that are there. Of captions, all are read.

    Raises:
        UsageError: neither is named, or the benchmark lacks a split or a list of videos to leave out.
        DataError: a file is missing or damaged, a name fits several videos, or the store holds none of them.
    """
    keys = [video.path for video in store.videos]
    if data.captions:
        return match_captions(read_captions(Path(data.captions)), keys)
    dataset, _ = require_benchmark(data)
    files = index_dataset_keys(dataset, keys, prefer=_preferred(data))
    return find_dataset_files(read_benchmark(data, splits), dataset, files, store=str(store.path))


def find_benchmark_videos(data: DataConfig, annotations: Annotations) -> tuple[VideoFiles, Annotations]:
    """Look for the videos below the benchmark's folder; the reports say which are missing.

    Raises:
        DataError: two files may be the same video, or there is none at all.
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
    request: ExtractRequest, data: DataConfig, splits: Collection[str] | None, progress: Progress
) -> ExtractRequest:
    """Complete a request by what a benchmark says: its videos if none are named, and the parts of them.

    Args:
        request: without sources, the videos below the benchmark's folder that its splits list are taken.
        data: names the benchmark.
        splits: those whose videos are wanted, where no sources are named; None: all that are there.
        progress: told what is missing.

    Raises:
        UsageError: the settings name no benchmark, or it has no such split, or sources are named too.
        DataError: the annotations are damaged, two files may be the same video, or there is none at all.
    """
    if splits and request.sources:
        raise UsageError(
            "--split chooses among the videos below the benchmark's folder, and others are named",
            hint="leave out either --split or the videos",
        )
    annotations = read_benchmark(data, splits)
    dataset, root = require_benchmark(data)
    if request.sources:
        keys = [video.path for video in find(request)[0]]
        files = index_dataset_keys(dataset, keys, prefer=_preferred(data))
        found = find_dataset_files(annotations, dataset, files)
    else:
        files, found = find_benchmark_videos(data, annotations)
        request = replace(request, sources=[root], names=sorted(found.windows(), key=os.fsencode))
    for folder in files.unreadable:
        progress.warn(f"{folder} cannot be read")
    for report in found.reports:
        if missing := report.without_file:
            progress.warn(f"{report.split}: {len(missing)} videos have no file: {format_names(missing)}")
    windows = {key: window for key, window in found.windows().items() if window is not None}
    return replace(request, windows=windows)
