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

from vopcli.config.choices import Resize
from vopcli.errors import DataError, VideoError, format_name
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.index.writer import NewVideo
from vopcli.progress import Progress
from vopcli.video.count import count_frames
from vopcli.video.diff import Changes, find_changes, hash_file
from vopcli.video.find_videos import find_videos
from vopcli.video.pool import DecodeJob, decode_videos
from vopcli.video.sampling import Sampling
from vopcli.video.video_file import VideoFile


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
        paths: paths of all videos of the source; others in the index were deleted.
    """

    to_encode: list[NewVideo] = field(default_factory=list)
    to_copy: list[tuple[NewVideo, int]] = field(default_factory=list)
    renamed: list[int] = field(default_factory=list)
    num_unchanged: int = 0
    num_changed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)


class EncodeSource(Protocol):
    """A source of frames."""

    sampling: Sampling
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
        self.recipe = _recipe_json(self.sampling, size, recipe.resize)
        self._to_encode: list[StoredVideo] = []

    def plan(self, index: VideoIndex, progress: Progress) -> EncodePlan:
        """Compare by name, modification time and content hash, which the store has of each video."""
        videos = self.store.videos
        known = index.find(videos)
        plan = EncodePlan(paths={video.path for video in videos})
        by_hash = {video.sha256: video for video in known.values() if video.sha256}
        self._to_encode = []
        for video in videos:
            noted, same = known.get(video.path), by_hash.get(video.content_sha256)
            new = _new(video, video.content_sha256, video.num_frames)
            if noted and _stamp(noted) == _stamp(new):
                plan.num_unchanged += 1
            elif same is not None:
                plan.to_copy.append((new, same.row))
                if same.path not in plan.paths:
                    plan.renamed.append(same.row)
            else:
                plan.num_changed += noted is not None
                plan.to_encode.append(new)
                self._to_encode.append(video)
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
    """Video files, decoded while encoding."""

    def __init__(
        self, sources: Sequence[Path], *, sampling: Sampling, size: int, workers: int, max_pixels: int
    ) -> None:
        """Find the videos.

        Raises:
            DataError: a source does not exist, or no video is found.
        """
        self.sampling = sampling.middle
        self._unreadable: list[tuple[str, str]] = []
        self._found = find_videos(sources, lambda name, reason: self._unreadable.append((name, reason)))
        if not self._found:
            problems = "".join(f"; {format_name(name)} {reason}" for name, reason in self._unreadable[:3])
            raise DataError(
                f"no video found in {', '.join(map(os.fspath, sources))}{problems}",
                hint="`vop extract-frames --help` lists the suffixes of videos",
            )
        self._size, self._workers, self._max_pixels = size, workers, max_pixels
        self.recipe = _recipe_json(self.sampling, size, Resize.BICUBIC)

    def plan(self, index: VideoIndex, progress: Progress) -> EncodePlan:
        """Compare by size and time, then by content; count the frames to encode.

        Raises:
            DataError: two folders have different videos of the same name.
        """
        known = index.find(self._found)
        with progress.task("compare", total=len(self._found), unit="videos") as task:
            changes: Changes[IndexedVideo] = find_changes(self._found, known, task.advance)
        plan = EncodePlan(paths={video.path for video in self._found}, failed=list(self._unreadable))
        plan.num_unchanged = len(changes.unchanged)
        plan.renamed = [noted.row for _, noted in changes.renamed]
        for video, noted in changes.same_content + changes.renamed + changes.copies:
            new = _new(video, noted.sha256, noted.num_frames)
            plan.to_copy.append((new, noted.row))
        wanted = changes.new + changes.changed + [video for video, _ in changes.duplicates]
        counted, failed = count_frames(
            wanted,
            self.sampling,
            workers=self._workers,
            progress=progress,
            max_pixels=self._max_pixels,
        )
        plan.failed += [(video.path, reason) for video, reason in failed]
        changed = {video.path for video in changes.changed}
        for video, count in counted:
            plan.num_changed += video.path in changed
            plan.to_encode.append(_new(video, changes.hashes.get(video.path, b""), count))
        return plan

    def jobs(self, plan: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        """Decode in worker processes, in arbitrary order; hash files that have no hash yet."""
        jobs = (DecodeJob(slot, video.file) for slot, video in enumerate(plan.to_encode))
        with ThreadPoolExecutor(1) as hashing:
            for job, sampled in decode_videos(
                jobs, self.sampling, size=self._size, workers=self._workers, max_pixels=self._max_pixels
            ):
                if isinstance(sampled, VideoError):
                    yield job.key, sampled.reason(job.path)
                    continue
                sha256 = plan.to_encode[job.key].sha256 or hashing.submit(_hash, job.path).result()
                yield Job(
                    job.key,
                    sampled.frames,
                    sampled.seconds,
                    sampled.num_real,
                    sampled.info.duration_seconds,
                    sha256,
                )


def _recipe_json(sampling: Sampling, size: int, resize: Resize) -> dict[str, Any]:
    return {"sampling": str(sampling), "size": size, "resize": resize.value}


def _stamp(video: VideoFile) -> tuple[str, int, int, bytes]:
    return video.root, video.size, video.mtime_ns, video.sha256


def _new(video: VideoFile, sha256: bytes, num_frames: int) -> NewVideo:
    file = VideoFile(video.root, video.path, video.size, video.mtime_ns, sha256)
    return NewVideo(**vars(file), num_frames=num_frames)


def _hash(file: str) -> bytes:
    try:
        return hash_file(file)
    except OSError:  # deleted meanwhile; without a hash, its next change is found by size and time
        return b""
