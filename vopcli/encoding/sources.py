"""Sources of frames: the videos of a frame store, or video files that are decoded while encoding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError, VideoError, format_name
from vopcli.frames.recipe import Recipe
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.index.leftovers import failures_of
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.index.writer import NewVideo
from vopcli.progress import Progress
from vopcli.video.diff import Changes, find_changes, hash_file
from vopcli.video.find_videos import find_videos
from vopcli.video.video_file import KnownVideos, TimeWindow, VideoFile, is_same_file


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


@dataclass
class EncodePlan:
    """The decision about each video of a source.

    Attributes:
        to_encode: new and changed videos.
        to_copy: videos whose content is in the index, each with the row of that content.
        renamed: rows of files that were renamed.
        num_unchanged: videos that are unchanged in the index.
        num_changed: videos to encode of which the index has an older version.
        failed: path and reason of videos that cannot be read.
        failed_before: path and reason of unchanged videos that failed in an earlier run and are not retried.
        files: all videos of the source by path; others in the index were deleted.
    """

    to_encode: list[NewVideo] = field(default_factory=list)
    to_copy: list[tuple[NewVideo, int]] = field(default_factory=list)
    renamed: list[int] = field(default_factory=list)
    num_unchanged: int = 0
    num_changed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, VideoFile] = field(default_factory=dict)

    def copy(self, video: VideoFile, known: KnownVideos[IndexedVideo], same: IndexedVideo) -> None:
        """Copy the rows of a video of the same content: its windows, then the video itself."""
        for row in (*known.parts_of(same), same):
            self.to_copy.append(
                (_new(video, row.sha256, row.num_frames, row.window, is_part=row.is_part), row.row)
            )


class EncodeSource(Protocol):
    """A source of frames."""

    recipe: dict[str, Any]

    def plan(self, index: VideoIndex, progress: Progress) -> EncodePlan:
        """Compare the source with the videos of an index."""

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Yield the frames of each video to encode, or its slot and the reason of a failure."""


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
                hint=f"extract them with `vop extract-frames --size {size}`, or use other --weights",
            )
        self.sampling = recipe.sampling
        self.recipe = _recipe_json(recipe)
        self._to_encode: list[StoredVideo] = []

    def plan(self, index: VideoIndex, progress: Progress) -> EncodePlan:
        """Compare by name, modification time and content hash, which the store has of each video."""
        videos = self.store.videos
        known = index.find(videos)
        plan = EncodePlan(files={video.path: video for video in videos})
        by_hash = {video.sha256: video for video in known.videos.values() if video.sha256}
        self._to_encode = []
        for video in videos:
            noted, same = known.videos.get(video.path), by_hash.get(video.content_sha256)
            if noted and is_same_file(noted, video) and noted.sha256 == video.content_sha256:
                plan.num_unchanged += 1
            elif same is not None:
                plan.copy(video, known, same)
                if same.path not in plan.files:
                    plan.renamed += [row.row for row in (*known.parts_of(same), same)]
            else:
                plan.num_changed += noted is not None
                done = {part.window for part in known.parts_of(video)}
                for row in (*self.store.parts_of(video), video):
                    if not (row.is_part and row.window in done):
                        sha256 = b"" if row.is_part else row.content_sha256
                        plan.to_encode.append(
                            _new(row, sha256, row.num_frames, row.window, is_part=row.is_part)
                        )
                        self._to_encode.append(row)
        return plan

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
    """Video files, decoded while encoding; those that failed before are left out unless ``retry_failed``."""

    retry_failed = False

    def __init__(
        self,
        sources: Sequence[Path],
        recipe: Recipe,
        *,
        workers: int,
        max_pixels: int,
    ) -> None:
        """Find the videos, of which frames are to be taken by ``recipe``.

        Raises:
            DataError: a source does not exist, or no video is found.
        """
        self._unreadable: list[tuple[str, str]] = []
        self._found = find_videos(sources, lambda name, reason: self._unreadable.append((name, reason)))
        if not self._found:
            problems = "".join(f"; {format_name(name)} {reason}" for name, reason in self._unreadable[:3])
            raise DataError(
                f"no video found in {', '.join(map(os.fspath, sources))}{problems}",
                hint="`vop extract-frames --help` lists the suffixes of videos",
            )
        self._recipe, self._workers, self._max_pixels = recipe, workers, max_pixels
        self.recipe = _recipe_json(recipe)

    def plan(self, index: VideoIndex, progress: Progress) -> EncodePlan:
        """Compare by size and time, then by content; count the frames to encode.

        Raises:
            DataError: two folders have different videos of the same name.
        """
        plan = EncodePlan(files={video.path: video for video in self._found}, failed=list(self._unreadable))
        failures = {} if self.retry_failed else failures_of(index)
        wanted, known = [], index.find(self._found)
        for video in self._found:
            failure = failures.get(video.path)
            if failure and is_same_file(failure, video):
                plan.failed_before.append((video.path, failure.reason))
            else:
                wanted.append(video)
        with progress.task("compare", total=len(wanted), unit="videos") as task:
            changes: Changes[IndexedVideo] = find_changes(wanted, known.videos, task.advance)
        plan.num_unchanged = len(changes.unchanged)
        plan.renamed = [row.row for _, noted in changes.renamed for row in (*known.parts_of(noted), noted)]
        for video, noted in changes.same_content + changes.renamed + changes.copies:
            plan.copy(video, known, noted)
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
        changed = {video.path for video in changes.changed}
        for video, windows in counted:
            plan.num_changed += video.path in changed
            done = {part.window for part in known.parts_of(video)}
            for number, (window, count) in enumerate(windows, 1):
                is_part = number < len(windows)
                if not (is_part and window in done):
                    sha256 = b"" if is_part else changes.hashes.get(video.path, b"")
                    plan.to_encode.append(_new(video, sha256, count, window, is_part=is_part))
        return plan

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Decode in worker processes, in arbitrary order; hash files that have no hash yet."""
        from vopcli.video.pool import DecodeJob, decode_videos
        from vopcli.video.video import FrameSpec

        slots = {(video.path, video.window): slot for slot, video in enumerate(plan.to_encode)}
        jobs = (
            DecodeJob(slot, video.file, tuple(row.window for row in rows))
            for slot, video, rows in _by_video(plan.to_encode)
        )
        how = self._recipe
        spec = FrameSpec(how.sampling, how.size, how.resize, how.fit, how.decode, self._max_pixels)
        results = decode_videos(jobs, spec, workers=self._workers)
        with ThreadPoolExecutor(1) as hashing:
            for job, sampled in results:
                video = plan.to_encode[job.key]
                if isinstance(sampled, VideoError):
                    yield job.key, sampled.reason(job.path)
                    continue
                if not len(sampled.frames):  # the video is shorter than its container states
                    continue
                is_part = sampled.window != video.window
                sha256 = video.sha256
                if not (sha256 or is_part):
                    sha256 = hashing.submit(_hash, job.path).result()
                yield Job(
                    slots[video.path, sampled.window],
                    sampled.frames,
                    sampled.seconds,
                    sampled.num_real,
                    sampled.info.duration_seconds,
                    b"" if is_part else sha256,
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


def _hash(file: str) -> bytes:
    try:
        return hash_file(file)
    except OSError:  # deleted meanwhile; without a hash, its next change is found by size and time
        return b""
