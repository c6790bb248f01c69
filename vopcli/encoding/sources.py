"""Sources of frames: the videos of a frame store, or video files that are decoded while encoding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError, VideoError
from vopcli.files.s3 import may_exist
from vopcli.frames.recipe import Recipe
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.index.leftovers import failures_of
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.index.writer import NewVideo
from vopcli.progress import Progress
from vopcli.video.diff import Changes, find_changes
from vopcli.video.find_videos import check_found, find_videos
from vopcli.video.video_file import KnownVideos, TimeWindow, VideoFile, is_same_file, missing_windows

if TYPE_CHECKING:
    from vopcli.video.estimate import Estimate
    from vopcli.video.pool import Workers


@dataclass(frozen=True)
class Job:
    """The frames of one video to encode.

    Attributes:
        slot: position of the video in the plan.
        frames: (F, S, S, 3) uint8 RGB.
        seconds: (F,) presentation times.
        num_real: number of frames that do not repeat the last one.
        duration_seconds: duration of the video.
        sha256: hash of the file, if it was unknown to the plan.
    """

    slot: int
    frames: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    num_real: int
    duration_seconds: float
    sha256: bytes = b""


@dataclass(frozen=True)
class Copy:
    """A video, or a window of one, whose content is in the index.

    Attributes:
        video: the video or window to add.
        row: the row of the same content.
        replaced: rows that the copy replaces, because their file was renamed.
    """

    video: NewVideo
    row: int
    replaced: list[int]


@dataclass
class EncodePlan:
    """The decision about each video of a source.

    Attributes:
        to_encode: new and changed videos.
        to_copy: videos whose content is in the index. Renamed videos, whose rows are replaced, come last, so
            that an interrupted run keeps the rows that are still to be copied.
        num_unchanged: videos that are unchanged in the index.
        failed: path and reason of videos that cannot be read.
        failed_before: path and reason of unchanged videos that failed in an earlier run and are not retried.
        files: all videos of the source by path; others in the index were deleted.
    """

    to_encode: list[NewVideo] = field(default_factory=list)
    to_copy: list[Copy] = field(default_factory=list)
    num_unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, VideoFile] = field(default_factory=dict)

    def copy(
        self,
        video: VideoFile,
        known: KnownVideos[IndexedVideo],
        same: IndexedVideo,
        *,
        is_renamed: bool = False,
    ) -> None:
        """Plan to copy the rows of ``same``, which has the same content, without those copied already."""
        rows = [(row.window, row) for row in (*known.parts_of(same), same)]
        left = {row.row for _, row in rows} if is_renamed else set()
        for _, row in missing_windows(known.parts_of(video), rows):
            # the video itself, the last, takes the place of all that an interrupted run has copied
            replaced = left & {row.row} if row.is_part else left
            left = left - replaced
            new = _new(video, row.sha256, row.num_frames, row.window, is_part=row.is_part)
            self.to_copy.append(Copy(new, row.row, sorted(replaced)))


class EncodeSource(Protocol):
    """A source of frames."""

    recipe: dict[str, Any]

    def plan(self, index: VideoIndex | None, progress: Progress) -> EncodePlan:
        """Compare the source with the videos of ``index``; None: a new index."""

    def estimate(self, plan: EncodePlan) -> Estimate:
        """Estimate the work of `jobs`, without that of the model."""

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Yield the frames of each video to encode, or its slot and the reason of a failure.

        The windows of a long video come before it; those after its end or a failure may be missing.
        """


class StoreSource:
    """The videos of a frame store."""

    def __init__(self, path: Path, *, size: int) -> None:
        """Open a store.

        Raises:
            DataError: ``path`` cannot be read, or its frames do not have the size of the model.
        """
        self.store = FrameStore.open(path)
        recipe = self.store.recipe.middle
        if recipe.size != size:
            raise DataError(
                f"{path} has frames of {recipe.size} px, the model takes {size} px",
                hint=f"extract them with `vop extract-frames --size {size}`, or with --weights",
            )
        self.sampling = recipe.sampling
        self.recipe = _recipe_json(recipe)
        self._to_encode: list[StoredVideo] = []

    def plan(self, index: VideoIndex | None, progress: Progress) -> EncodePlan:
        """Compare by name, modification time and content hash, which the store has of each video."""
        videos = self.store.videos
        known = index.find(videos) if index is not None else KnownVideos()
        plan = EncodePlan(files={video.path: video for video in videos})
        # the oldest row of a content: that of a renamed file, before copies that an interrupted run has made
        by_hash = {video.sha256: video for video in reversed(known.videos.values()) if video.sha256}
        self._to_encode = []
        copies: dict[str, list[VideoFile]] = {}  # by the path of the same content
        for video in videos:
            noted, same = known.videos.get(video.path), by_hash.get(video.content_sha256)
            if noted and is_same_file(noted, video) and noted.sha256 == video.content_sha256:
                plan.num_unchanged += 1
            elif same is not None:
                copies.setdefault(same.path, []).append(video)
            else:
                rows = [(row.window, row) for row in (*self.store.parts_of(video), video)]
                for window, row in missing_windows(known.parts_of(video), rows):
                    sha256 = b"" if row.is_part else row.content_sha256
                    plan.to_encode.append(_new(row, sha256, row.num_frames, window, is_part=row.is_part))
                    self._to_encode.append(row)
        for path, files in copies.items():
            same = known.videos[path]
            is_there = path in plan.files or may_exist(same.file, os.path.lexists)
            for file in files:
                plan.copy(file, known, same, is_renamed=not is_there and file is files[-1])
        return plan

    def estimate(self, plan: EncodePlan) -> Estimate:
        """Count the hours; reading frames takes little time compared with the model."""
        from vopcli.video.estimate import Estimate

        whole = [row.duration_seconds for row in self._to_encode if not row.is_part]
        hours, num_windows = sum(whole) / 3600, len(self._to_encode) - len(whole)
        return Estimate(len(whole), hours, num_windows, 0.0, "frames are read from the store")

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Read the videos one after the other."""
        for slot, video in enumerate(self._to_encode):
            try:
                frames = self.store.read(video)
            except DataError as error:
                yield slot, str(error)
                continue
            yield Job(slot, frames, video.seconds, video.num_real, video.duration_seconds)


class VideoSource:
    """Video files, decoded while encoding."""

    def __init__(
        self,
        sources: Sequence[Path],
        recipe: Recipe,
        *,
        workers: Workers,
        max_pixels: int,
        retry_failed: bool,
    ) -> None:
        """Find the videos whose frames are to be taken by ``recipe``; leave out those that failed before.

        Args:
            sources: folders, videos, and lists of videos.
            recipe: how frames are taken.
            workers: number of decoding processes, or Ray.
            max_pixels: videos with larger frames fail.
            retry_failed: retry videos that failed in an earlier run.

        Raises:
            DataError: a source does not exist, or no video is found.
        """
        self._unreadable: list[tuple[str, str]] = []
        self._found = find_videos(sources, lambda name, reason: self._unreadable.append((name, reason)))
        check_found(self._found, sources, self._unreadable)
        self._recipe, self._workers, self._max_pixels = recipe, workers, max_pixels
        self._retry_failed = retry_failed
        self.recipe = _recipe_json(recipe)

    def plan(self, index: VideoIndex | None, progress: Progress) -> EncodePlan:
        """Compare by size and time, then by content; count the frames to encode.

        Raises:
            DataError: two folders have different videos of the same name.
        """
        plan = EncodePlan(files={video.path: video for video in self._found}, failed=list(self._unreadable))
        failures = failures_of(index) if index is not None and not self._retry_failed else {}
        wanted, known = [], index.find(self._found) if index is not None else KnownVideos()
        for video in self._found:
            failure = failures.get(video.path)
            if failure and is_same_file(failure, video):
                plan.failed_before.append((video.path, failure.reason))
            else:
                wanted.append(video)
        with progress.task("compare", total=len(wanted), unit="videos") as task:
            changes: Changes[IndexedVideo] = find_changes(wanted, known.videos, task.advance)
        plan.num_unchanged = len(changes.unchanged)
        for video, noted in changes.same_content + changes.copies:
            plan.copy(video, known, noted)
        for video, noted in changes.renamed:
            plan.copy(video, known, noted, is_renamed=True)
        wanted = changes.new + changes.changed + [video for video, _ in changes.duplicates]
        if not wanted:  # the modules that decode take time to load
            return plan
        from vopcli.video.count import count_frames

        counted, failed = count_frames(
            wanted,
            self._recipe.sampling,
            self._recipe.windows,
            workers=self._workers,
            progress=progress,
            max_pixels=self._max_pixels,
        )
        plan.failed += [(video.path, reason) for video, reason in failed]
        for video, windows in counted:
            missing = missing_windows(known.parts_of(video), windows)
            for number, (window, count) in enumerate(missing, 1):
                is_part = number < len(missing)
                sha256 = b"" if is_part else changes.hashes.get(video.path, b"")
                plan.to_encode.append(_new(video, sha256, count, window, is_part=is_part))
        return plan

    def estimate(self, plan: EncodePlan) -> Estimate:
        """Estimate by decoding some of the videos."""
        from vopcli.video.estimate import estimate_work

        videos = [
            (video, [(row.window, row.num_frames) for row in rows])
            for _, video, rows in _by_video(plan.to_encode)
        ]
        workers = self._workers if isinstance(self._workers, int) else self._workers.num_actors
        return estimate_work(videos, self._recipe.frame_spec(self._max_pixels), workers=workers)

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Decode in worker processes, in arbitrary order; hash files that have no hash yet."""
        from vopcli.video.pool import DecodeJob, decode_videos

        slots = {(video.path, video.window): slot for slot, video in enumerate(plan.to_encode)}
        jobs = (
            DecodeJob(slot, video.file, tuple(row.window for row in rows), is_hashed=not video.sha256)
            for slot, video, rows in _by_video(plan.to_encode)
        )
        spec = self._recipe.frame_spec(self._max_pixels)
        for job, sampled in decode_videos(jobs, spec, workers=self._workers):
            video = plan.to_encode[job.key]
            if isinstance(sampled, VideoError):
                yield job.key, sampled.reason(job.path)
                continue
            if not len(sampled.frames):  # the video is shorter than its container states
                continue
            is_part = sampled.window != video.window
            yield Job(
                slots[video.path, sampled.window],
                sampled.frames,
                sampled.seconds,
                sampled.num_real,
                sampled.info.duration_seconds,
                b"" if is_part else video.sha256 or sampled.sha256,
            )


def _by_video(rows: Sequence[NewVideo]) -> Iterator[tuple[int, NewVideo, list[NewVideo]]]:
    """Yield each video with its slot, and all rows to encode of it: its windows, then itself."""
    waiting: list[NewVideo] = []
    for slot, row in enumerate(rows):
        waiting.append(row)
        if not row.is_part:
            yield slot, row, waiting
            waiting = []


def _recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values, without the codec, which an index does not depend on."""
    return {name: value for name, value in recipe.to_json().items() if name != "codec"}


def _new(video: VideoFile, sha256: bytes, num_frames: int, window: TimeWindow, *, is_part: bool) -> NewVideo:
    file = VideoFile(video.root, video.path, video.size, video.mtime_ns, sha256)
    return NewVideo(**vars(file), num_frames=num_frames, window=window, is_part=is_part)
