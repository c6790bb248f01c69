"""Plan of an extraction: the videos to decode, and the space they take."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vopcli.config.schema import DataConfig
from vopcli.errors import DataError, UsageError, format_name
from vopcli.frames.layout import frames_bytes, missing_frames
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import Row, Status
from vopcli.progress import Progress
from vopcli.resources import usable_cores
from vopcli.video.count import count_frames
from vopcli.video.diff import Changes, find_changes
from vopcli.video.find_videos import VIDEO_SUFFIXES, find_videos, named_videos
from vopcli.video.sampling import WHOLE, Sampling, TimeWindow, requested_sampling
from vopcli.video.video_file import VideoFile, relocate


@dataclass(frozen=True)
class ExtractRequest:
    """The videos to decode, and the frame store to write.

    Attributes:
        sources: folders, videos, and lists of videos.
        store: the frame store to create or extend.
        data: how frames are sampled, resized and stored (None: like those of an existing store), and the
            number of workers (0: decode in this process).
        names: videos to extract, relative to the only source; None: all videos of the sources.
        overwrite: replace the store instead of extending it.
        retry_failed: retry videos that failed in an earlier run.
        strict: stop at the first video that fails.
        dry_run: only report the plan.
        windows: sampled part of each video that is not sampled as a whole, by path in the store.
    """

    sources: Sequence[Path]
    store: Path
    data: DataConfig = DataConfig()
    names: Sequence[str] | None = None
    overwrite: bool = False
    retry_failed: bool = False
    strict: bool = False
    dry_run: bool = False
    windows: Mapping[str, TimeWindow] = field(default_factory=dict)

    @property
    def sampling(self) -> Sampling | None:
        """The sampling of the settings; None: that of the store."""
        return requested_sampling(self.data)

    def window_of(self, path: str) -> TimeWindow:
        """Return the sampled part of a video."""
        return self.windows.get(path, WHOLE)


@dataclass
class ExtractPlan:
    """Plan of an extraction.

    Attributes:
        recipe: how frames are made.
        window_of: returns the sampled part of a video.
        changes: differences between found and stored videos.
        to_decode: new and changed videos with their numbers of frames.
        failed: videos whose frames cannot be counted, with the reasons.
        failed_before: path and reason of videos that failed in an earlier run and are not retried.
    """

    recipe: Recipe
    window_of: Callable[[str], TimeWindow]
    changes: Changes[Row]
    to_decode: list[tuple[VideoFile, int]] = field(default_factory=list)
    failed: list[tuple[VideoFile, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Number of frames to decode."""
        return sum(count for _, count in self.to_decode)

    def num_bytes(self, num_free: Sequence[int]) -> int:
        """Return the growth of the store in bytes, given the free slots of each segment."""
        return frames_bytes(missing_frames(num_free, [count for _, count in self.to_decode]), self.recipe)

    def rows(self) -> tuple[list[Row], list[int]]:
        """Return the rows to add, and for each the number of frames to come."""
        changes = self.changes
        pending = [(self._row(video, Status.PENDING), count) for video, count in self.to_decode]
        settled = [self._row(video, Status.FAILED, error) for video, error in self.failed]
        settled += [self._row(video, Status.PENDING) for video, _ in changes.duplicates]
        settled += [
            relocate(known, video) for video, known in changes.same_content + changes.renamed + changes.copies
        ]
        settled += [replace(known, status=Status.GONE) for _, known in changes.renamed]
        return [row for row, _ in pending] + settled, [count for _, count in pending] + [0] * len(settled)

    def _row(self, video: VideoFile, status: Status, error: str = "") -> Row:
        sha256, window = self.changes.hashes.get(video.path, b""), self.window_of(video.path)
        return Row(**vars(video) | {"sha256": sha256}, status=status, window=window, error=error)


def num_workers(request: ExtractRequest) -> int:
    """Return the number of decoding processes; by default one for each usable core."""
    return usable_cores() if request.data.workers is None else request.data.workers


def find(request: ExtractRequest) -> tuple[list[VideoFile], list[tuple[str, str]]]:
    """Find the videos to extract, and the files and folders that cannot be read.

    Raises:
        UsageError: the store has the name of a video.
        FileError: a source does not exist.
        DataError: no video is found.
    """
    if request.store.suffix.lower() in VIDEO_SUFFIXES:
        raise UsageError(
            f"{request.store} has the name of a video, not of a frame store",
            hint="name the store last: SRC... OUT.h5",
        )
    unreadable: list[tuple[str, str]] = []

    def report(name: str, reason: str) -> None:
        unreadable.append((name, reason))

    if request.names is None:
        found = find_videos(request.sources, report)
    else:
        found = named_videos(request.sources[0], request.names, report)
    if not found:
        names = ", ".join(os.fspath(source) for source in request.sources)
        problems = "".join(f"; {format_name(name)} {reason}" for name, reason in unreadable[:3])
        raise DataError(
            f"no video found in {names}{problems}", hint=f"a video ends in {' '.join(VIDEO_SUFFIXES)}"
        )
    return found, unreadable


def make_plan(
    request: ExtractRequest,
    recipe: Recipe,
    known: Mapping[str, Row],
    found: Sequence[VideoFile],
    progress: Progress,
) -> ExtractPlan:
    """Compare found and stored videos, and count the frames to decode.

    Raises:
        DataError: two folders have different videos of the same relative path.
    """
    if request.retry_failed:
        known = {path: row for path, row in known.items() if row.status is Status.DONE}
    with progress.task("compare", total=len(found), unit="videos") as task:
        changes = find_changes(
            found,
            known,
            task.advance,
            lambda video: video.window if isinstance(video, Row) else request.window_of(video.path),
        )
    plan = ExtractPlan(recipe, request.window_of, changes)
    plan.failed_before = [(row.path, row.error) for row in changes.unchanged if row.status is Status.FAILED]
    changes.unchanged = [row for row in changes.unchanged if row.status is Status.DONE]
    changes.deleted = [row for row in changes.deleted if row.status is Status.DONE]
    wanted = sorted(changes.new + changes.changed, key=lambda video: os.fsencode(video.path))
    plan.to_decode, plan.failed = count_frames(
        wanted,
        recipe.sampling,
        workers=num_workers(request),
        progress=progress,
        window_of=request.window_of,
        max_pixels=request.data.max_pixels,
    )
    return plan
