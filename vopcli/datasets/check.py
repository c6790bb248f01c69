"""Check which videos of a benchmark or a caption file are available, split by split."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vopcli.config.schema import DataConfig
from vopcli.datasets.benchmark import find_benchmark_videos, read_benchmark, read_stored_annotations
from vopcli.datasets.benchmarks.registry import BENCHMARKS
from vopcli.datasets.records import Annotations
from vopcli.errors import UsageError
from vopcli.frames.store import FrameStore


@dataclass(frozen=True)
class DataCheck:
    """Available videos of a benchmark or a caption file.

    Attributes:
        annotations: the splits with their reports.
        looked_in: the frame store or folder that was searched.
        published: published number of videos by split.
        notes: irregularities, one line each.
    """

    annotations: Annotations
    looked_in: str
    published: Mapping[str, int]
    notes: Sequence[str]

    @property
    def is_complete(self) -> bool:
        """Whether no video is missing and all splits have their published sizes."""
        return all(report.is_complete for report in self.annotations.reports)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of ``vop data check --json``."""
        return {
            "name": self.annotations.name,
            "looked_in": self.looked_in,
            "is_complete": self.is_complete,
            "notes": list(self.notes),
            "splits": {
                report.split: {"published": self.published.get(report.split), **report.to_json()}
                for report in self.annotations.reports
            },
        }


def check_data(
    data: DataConfig, splits: Collection[str] | None = None, *, store_must_exist: bool = False
) -> DataCheck:
    """Check which videos of each split are available, and how many were published.

    Videos are looked up in the frame store of the settings; if it does not exist, in the benchmark's folder.

    Args:
        data: settings of the benchmark or the caption file.
        splits: splits to check; None: all splits of the release.
        store_must_exist: look in the frame store only.

    Raises:
        UsageError: neither captions nor a benchmark is set, or captions without a frame store.
        DataError: a file is missing or damaged, or none of the videos is available.
    """
    sizes = BENCHMARKS[data.dataset].sizes if data.dataset else {}
    published = {split: size.videos for split, size in sizes.items() if size.videos is not None}
    if data.frames and (store_must_exist or Path(data.frames).exists()):
        store = FrameStore.open(Path(data.frames))
        found = read_stored_annotations(data, store, splits)
        chosen = {name: found.split(name) for name in splits or found.splits}
        return DataCheck(replace(found, splits=chosen), str(store.path), published, found.notes)
    if data.captions:
        raise UsageError(
            f"{data.captions} needs a frame store to find its videos in",
            hint="create one with `vop extract-frames`, and pass it with --frames",
        )
    files, found = find_benchmark_videos(data, read_benchmark(data, splits))
    notes = (*found.notes, *(f"{folder} cannot be read" for folder in files.unreadable))
    return DataCheck(found, str(data.root), published, notes)
