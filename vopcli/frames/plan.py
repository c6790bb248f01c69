"""Plan of an extraction: the videos to decode, and the space they take."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vopcli.clip.shape import ClipShape
from vopcli.config.schema import DataConfig
from vopcli.errors import UsageError
from vopcli.frames.layout import frames_bytes, missing_frames
from vopcli.frames.recipe import Recipe, requested_recipe
from vopcli.frames.rows import Row, Status
from vopcli.progress import Progress
from vopcli.video.count import count_frames
from vopcli.video.diff import Changes, find_changes
from vopcli.video.find_videos import VIDEO_SUFFIXES, check_found, find_videos, named_videos
from vopcli.video.pool import Workers
from vopcli.video.sampling import Sampling, requested_sampling
from vopcli.video.video_file import WHOLE, KnownVideos, TimeWindow, VideoFile, missing_windows, relocate


@dataclass(frozen=True)
class ExtractRequest:
    """The videos to decode, and the frame store to write.

    Attributes:
        sources: folders, videos, and lists of videos.
        store: the frame store to create or extend.
        data: how frames are sampled, resized and stored (None: like those of an existing store), and the
            number of workers (0: decode in this process).
        shape: of a model that the frames of a new store are made for, unless ``data`` differs.
        names: videos to extract, relative to the only source; None: all videos of the sources.
        overwrite: replace the store instead of extending it.
        retry_failed: retry videos that failed in an earlier run.
        strict: stop at the first video that fails.
        dry_run: only report the plan.
        annotated: sampled part of each video of which only a part is annotated, by path in the store.
        ranges: windows of videos, by path in the store; for other videos they follow from ``data.windows``.
        found: result of `find`, once it is known.
    """

    sources: Sequence[Path]
    store: Path
    data: DataConfig = DataConfig()
    shape: ClipShape | None = None
    names: Sequence[str] | None = None
    overwrite: bool = False
    retry_failed: bool = False
    strict: bool = False
    dry_run: bool = False
    annotated: Mapping[str, TimeWindow] = field(default_factory=dict)
    ranges: Mapping[str, Sequence[TimeWindow]] = field(default_factory=dict)
    found: tuple[list[VideoFile], list[tuple[str, str]]] | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe of a new store."""
        recipe = requested_recipe(self.data, shape=self.shape)
        return replace(recipe, size=self.data.size or recipe.size)

    @property
    def sampling(self) -> Sampling | None:
        """The sampling of the settings; None: that of the store."""
        return requested_sampling(self.data)

    def window_of(self, path: str) -> TimeWindow:
        """Return the part of a video that is sampled for the video itself, not for its windows."""
        return self.annotated.get(path, WHOLE)

    def windows_of(self, path: str) -> tuple[TimeWindow, ...] | None:
        """Return the given windows of a video, itself last; None: they follow from ``data.windows``."""
        if path not in self.annotated and path not in self.ranges:
            return None
        return (*self.ranges.get(path, ()), self.window_of(path))

    def part_of(self, video: VideoFile, known: KnownVideos[Row]) -> Hashable:
        """Return the wanted part and ranges of a found video; for a row, those that it has already."""
        wanted = self.ranges.get(video.path, ())
        if not isinstance(video, Row):
            return self.window_of(video.path), frozenset(wanted)
        stored = {row.window for row in known.parts_of(video)}
        # after its end a video has no frames to store; a failed one has no duration
        is_settled = (window in stored or window.start_seconds >= video.duration_seconds for window in wanted)
        return video.window, frozenset(itertools.compress(wanted, is_settled))


@dataclass
class ExtractPlan:
    """Plan of an extraction.

    Attributes:
        recipe: how frames are made.
        window_of: returns the sampled part of a video.
        changes: differences between found and stored videos.
        known: the rows of the store.
        to_decode: new and changed videos, each with its windows and their numbers of frames; the last
            window is the video itself.
        failed: videos whose frames cannot be counted, with the reasons.
        failed_before: path and reason of videos that failed in an earlier run and are not retried.
    """

    recipe: Recipe
    window_of: Callable[[str], TimeWindow]
    changes: Changes[Row]
    known: KnownVideos[Row]
    to_decode: list[tuple[VideoFile, list[tuple[TimeWindow, int]]]] = field(default_factory=list)
    failed: list[tuple[VideoFile, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Number of frames to decode."""
        return sum(self._counts())

    def _counts(self) -> list[int]:
        return [count for _, windows in self.to_decode for _, count in windows]

    def num_bytes(self, num_free: Sequence[int]) -> int:
        """Return the growth of the store in bytes, given the free slots of each segment."""
        return frames_bytes(missing_frames(num_free, self._counts()), self.recipe)

    def rows(self) -> tuple[list[Row], list[int]]:
        """Return the rows to add, and the number of frames to decode for each."""
        changes = self.changes
        pending = []
        for video, windows in self.to_decode:
            row = self._row(video, Status.PENDING)
            pending += [
                (replace(row, window=window, is_part=number < len(windows)), count)
                for number, (window, count) in enumerate(windows, 1)
            ]
        settled = [self._row(video, Status.FAILED, error) for video, error in self.failed]
        settled += [self._row(video, Status.PENDING) for video, _ in changes.duplicates]
        for video, known in changes.same_content + changes.renamed + changes.copies:
            settled += [relocate(row, video) for row in (*self.known.parts_of(known), known)]
        settled += [replace(known, status=Status.GONE) for _, known in changes.renamed]
        return [row for row, _ in pending] + settled, self._counts() + [0] * len(settled)

    def _row(self, video: VideoFile, status: Status, error: str = "") -> Row:
        sha256, window = self.changes.hashes.get(video.path, b""), self.window_of(video.path)
        return Row(**vars(video) | {"sha256": sha256}, status=status, window=window, error=error)


def warn_empty(video: VideoFile, window: TimeWindow, progress: Progress) -> None:
    """Warn that a range with captions has no frames."""
    progress.warn(f"{video.path} has no frames from {window}")


def find(request: ExtractRequest) -> tuple[list[VideoFile], list[tuple[str, str]]]:
    """Find the videos to extract, and the files and folders that cannot be read.

    Raises:
        UsageError: the store has the name of a video.
        FileError: a source does not exist.
        DataError: no video is found.
    """
    if request.found is not None:
        return request.found
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
    check_found(found, request.sources, unreadable)
    return found, unreadable


def make_plan(
    request: ExtractRequest,
    recipe: Recipe,
    known: KnownVideos[Row],
    found: Sequence[VideoFile],
    workers: Workers,
    progress: Progress,
) -> ExtractPlan:
    """Compare found and stored videos, and count the frames to decode.

    Raises:
        DataError: two folders have different videos of the same relative path.
    """
    videos = known.videos
    if request.retry_failed:
        videos = {path: row for path, row in videos.items() if row.status is Status.DONE}
    with progress.task("compare", total=len(found), unit="videos") as task:
        changes = find_changes(
            found,
            videos,
            task.advance,
            lambda video: request.part_of(video, known),
        )
    plan = ExtractPlan(recipe, request.window_of, changes, known)
    kept = [(row, row) for row in changes.unchanged]
    for video, row in kept + changes.same_content + changes.renamed + changes.copies:
        for window in request.ranges.get(video.path, ()):
            if window.start_seconds >= row.duration_seconds > 0:
                warn_empty(video, window, progress)
    plan.failed_before = [(row.path, row.error) for row in changes.unchanged if row.status is Status.FAILED]
    changes.unchanged = [row for row in changes.unchanged if row.status is Status.DONE]
    changes.deleted = [row for row in changes.deleted if row.status is Status.DONE]
    wanted = sorted(changes.new + changes.changed, key=lambda video: os.fsencode(video.path))
    counted, plan.failed = count_frames(
        wanted,
        recipe.sampling,
        recipe.windows,
        workers=workers,
        progress=progress,
        windows_of=request.windows_of,
        max_pixels=request.data.max_pixels,
    )
    plan.to_decode = counted
    _separate_long_duplicates(plan)
    plan.to_decode = [
        (video, missing_windows(known.parts_of(video), windows)) for video, windows in plan.to_decode
    ]
    return plan


def _separate_long_duplicates(plan: ExtractPlan) -> None:
    """Decode duplicates of long videos too: only whole videos are copied within a run."""
    windows_of = {video.path: windows for video, windows in plan.to_decode}
    duplicates, plan.changes.duplicates = plan.changes.duplicates, []
    for video, path in duplicates:
        windows = windows_of.get(path, [])
        if len(windows) > 1:
            plan.to_decode.append((video, windows))
        else:
            plan.changes.duplicates.append((video, path))
