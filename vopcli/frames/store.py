"""Read a frame store: the decoded, resized frames of many videos in one HDF5 file."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.arrays import checksum
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.layout import check_shapes, frame_slots, row_fits, used_frames
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status, latest, unpack_rows
from vopcli.progress import Progress, SilentProgress
from vopcli.video.video_file import WHOLE, TimeWindow, VideoFile, is_same_file, range_name


@dataclass(frozen=True, kw_only=True)
class StoredVideo(VideoFile):
    """A video whose frames are in a store.

    Attributes:
        window: part of the video that was sampled.
        is_part: a window of a long video.
        duration_seconds: duration.
        fps: average frames per second.
        width: displayed width in pixels.
        height: displayed height in pixels.
        rotation_degrees: clockwise rotation of the coded frames for display.
        num_real: number of the F frames that do not repeat the last one.
        num_frames: number of frames to read, F; the store has C candidates for each.
        num_bad_packets: packets that could not be decoded.
        segment: number of the segment that holds the frames.
        first_frame: position of the first of the F * C frames in that segment.
        seconds: (F,) float64 presentation times, of the middle candidates.
    """

    window: TimeWindow
    is_part: bool
    duration_seconds: float
    fps: float
    width: int
    height: int
    rotation_degrees: int
    num_real: int
    num_frames: int
    num_bad_packets: int
    segment: int
    first_frame: int
    seconds: NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The path, and of a window its times too: ``a.mp4@12.5-20``."""
        return range_name(self.path, self.window) if self.is_part else self.path

    @property
    def content_sha256(self) -> bytes:
        """Hash, 32 bytes, of the file, and of the window unless the whole video is sampled."""
        if self.window == WHOLE:
            return self.sha256
        window = struct.pack("<2d", self.window.start_seconds, self.window.end_seconds)
        return hashlib.sha256(self.sha256 + window).digest()


class FrameStore:
    """A frame store opened for reading; can be pickled, and used after a fork.

    `FrameStore.open` refuses a store with damaged rows; the constructor leaves them out.

    Attributes:
        path: the file.
        recipe: how the frames were made.
        videos: stored videos, sorted by path.
        failures: path and reason of each video that could not be decoded.
        used_frames: for each segment, the position of the first free slot.
        num_unfinished: rows that a run planned and did not finish.
        num_damaged_rows: rows that are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._contents = SegmentFile.read(path, FRAME_FORMAT)
        self.recipe = Recipe.from_attributes(path, self._contents.attributes)
        self.segments = self._contents.segments
        check_shapes(path, self.segments, self.recipe)
        rows = [row for segment in self.segments for row in unpack_rows(segment)]
        self.used_frames = used_frames(rows, self.segments, self.recipe)
        good = [row for row in rows if row and row_fits(row, self.segments, self.recipe)]
        self.known = latest(good)
        self.num_unfinished = sum(row is not None and row.status is Status.PENDING for row in rows)
        self.num_damaged_rows = len(rows) - len(good)
        self.rows = sorted(self.known.videos.values(), key=lambda row: os.fsencode(row.path))
        self._seconds = [segment.map("seconds") for segment in self.segments]
        self._checksums = [segment.map("checksums") for segment in self.segments]
        self._ranges = [segment.map("frame_ranges") for segment in self.segments]
        self._data = [segment.map(self._data_column) for segment in self.segments]
        self.videos = [self._stored(row) for row in self.rows if row.status is Status.DONE]
        self.failures = [(row.path, row.error) for row in self.rows if row.status is Status.FAILED]

    def parts_of(self, video: StoredVideo) -> list[StoredVideo]:
        """Return the windows of a long video, in order of time; none for a short one."""
        return self._windows.get(video.path, [])

    @cached_property
    def items(self) -> dict[str, StoredVideo]:
        """The videos, and the windows of long ones, by `StoredVideo.name`."""
        return {item.name: item for video in self.videos for item in (*self.parts_of(video), video)}

    @property
    def windows(self) -> list[StoredVideo]:
        """The windows of long videos, also of unfinished ones; not those of an earlier state of a file."""
        return [window for windows in self._windows.values() for window in windows]

    @cached_property
    def _windows(self) -> dict[str, list[StoredVideo]]:
        """The windows by the path of their video, whose hash they get."""
        found = {}
        for path, parts in self.known.parts.items():
            video = self.known.videos.get(path, parts[0])
            same = [part for part in parts if path not in self.known.videos or is_same_file(part, video)]
            found[path] = [self._stored(replace(part, sha256=video.sha256)) for part in same]
        return found

    @classmethod
    def open(cls, path: Path) -> FrameStore:
        """Open a store; frames are read later.

        Raises:
            DataError: ``path`` is missing, not a frame store, of another version, or damaged.
            BusyError: another process keeps changing ``path``.
        """
        store = cls(path)
        if store.num_damaged_rows:
            raise DataError(
                f"{path} is damaged: {store.num_damaged_rows} of its rows do not match their checksums",
                hint="run `vop extract-frames` on it again: it extracts the videos of these rows",
            )
        return store

    def __reduce__(self) -> tuple[type[FrameStore], tuple[Path]]:
        return FrameStore, (self.path,)

    @property
    def num_slots(self) -> list[int]:
        """Number of frame slots of each segment."""
        return [frame_slots(segment, self.recipe) for segment in self.segments]

    @property
    def _data_column(self) -> str:
        return "frames" if self.recipe.codec == "raw" else "frame_bytes"

    def read(self, video: StoredVideo) -> NDArray[np.uint8]:
        """Return the frames of a video, (F, S, S, 3) uint8 RGB: the middle candidate of each segment.

        Raises:
            DataError: a frame does not match its checksum.
        """
        size = self.recipe.size
        out = np.empty((1, video.num_frames, size, size, 3), np.uint8)
        return self.read_batch([video], out)[0]

    def read_batch(
        self,
        videos: Sequence[StoredVideo],
        out: NDArray[np.uint8],
        candidates: NDArray[np.integer[Any]] | None = None,
    ) -> NDArray[np.uint8]:
        """Read the frames of several videos that have the same number of frames.

        The frames are compared with their checksums.

        Args:
            videos: videos to read.
            out: (B, F, S, S, 3) uint8, filled from the first row on; B may be larger than ``len(videos)``.
            candidates: (B, F) integers in ``[0, C)``, the candidate to read for each frame; None reads the
                middle ones.

        Returns:
            The filled rows of ``out``.

        Raises:
            DataError: a frame does not match its checksum.
            ValueError: ``videos`` do not fit ``out``, or a candidate is out of range.
        """
        expected = (self.recipe.size, self.recipe.size, 3)
        if len(videos) > len(out) or out.shape[2:] != expected or out.dtype != np.uint8:
            raise ValueError(f"{out.shape} {out.dtype} does not fit {len(videos)} videos of {expected}")
        if any(video.num_frames != out.shape[1] for video in videos):
            raise ValueError(
                f"{out.shape} takes {out.shape[1]} frames of each video, and one has more or fewer"
            )
        shape = len(videos), out.shape[1]
        offsets = self._offsets(np.full(shape, self._middle) if candidates is None else candidates, shape)
        for i, video in enumerate(videos):
            slots = video.first_frame + offsets[i]
            if self.recipe.codec == "raw":
                # Mode "clip" makes take write into out directly; there is nothing to clip.
                np.take(self._data[video.segment], slots, 0, out[i], "clip")
                self._check(video, slots, out[i])
            else:
                encoded = self._encoded(video, slots)
                self._check(video, slots, encoded)
                self._decode_jpeg(video, encoded, out[i])
        return out[: len(videos)]

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Read the whole store and return a sentence for each damage found."""
        problems = []
        if self.num_damaged_rows:
            problems.append(f"{self.num_damaged_rows} rows are damaged")
        rows = self.videos + self.windows
        with (progress or SilentProgress()).task("verify", total=len(rows), unit="rows") as task:
            for video in rows:
                slots = video.first_frame + np.arange(video.num_frames * self.recipe.candidates)
                try:
                    self._check(video, slots, self._encoded(video, slots))
                    task.advance()
                except DataError:
                    problems.append(f"the frames of {video.path} are damaged")
                    task.fail(video.path, "its frames are damaged")
        return problems

    @property
    def _middle(self) -> int:
        return self.recipe.candidates // 2

    def _stored(self, row: Row) -> StoredVideo:
        each, end = self.recipe.candidates, row.first_frame + row.num_frames
        values = {
            item.name: getattr(row, item.name) for item in fields(StoredVideo) if hasattr(row, item.name)
        }
        values["num_frames"], values["num_real"] = row.num_frames // each, row.num_real // each
        seconds = self._seconds[row.frames_segment][row.first_frame + self._middle : end : each]
        return StoredVideo(**values, segment=row.frames_segment, seconds=seconds)

    def _offsets(self, candidates: NDArray[np.integer[Any]], shape: tuple[int, int]) -> NDArray[np.intp]:
        """Return the offset of each chosen candidate from the first frame of its video, (B, F).

        Raises:
            ValueError: a candidate is out of range.
        """
        each = self.recipe.candidates
        if candidates.shape != shape or candidates.min() < 0 or candidates.max() >= each:
            raise ValueError(
                f"candidates of shape {candidates.shape}, expected {shape} with values of 0 to {each - 1}"
            )
        return np.arange(shape[1]) * each + candidates.astype(np.intp)

    def _encoded(self, video: StoredVideo, slots: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
        """Return the stored bytes of frames."""
        data = self._data[video.segment]
        if self.recipe.codec == "raw":
            return [data[slot] for slot in slots]
        return [data[start:end] for start, end in self._ranges[video.segment][slots]]

    def _check(
        self, video: StoredVideo, slots: NDArray[np.intp], stored: Sequence[NDArray[np.uint8]]
    ) -> None:
        """Compare frames, as stored, with their checksums.

        Raises:
            DataError: a frame does not match its checksum.
        """
        found = frame_checksums(self._seconds[video.segment][slots], stored)
        if not np.array_equal(found, self._checksums[video.segment][slots]):
            raise self._damaged(video)

    def _decode_jpeg(
        self, video: StoredVideo, encoded: Sequence[NDArray[np.uint8]], out: NDArray[np.uint8]
    ) -> None:
        import cv2

        for target, data in zip(out, encoded, strict=True):
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
            if picture is None or picture.shape != target.shape:
                raise self._damaged(video)
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=target)

    def _damaged(self, video: StoredVideo) -> DataError:
        return DataError(f"the frames of {video.path} in {self.path} are damaged", hint=FRAME_FORMAT.hint)


def frame_checksums(
    seconds: NDArray[np.float64], stored: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
) -> NDArray[np.uint64]:
    """Return the checksum of each frame: of its bytes as stored, seeded with the bits of its time.

    Args:
        seconds: (F,) presentation times.
        stored: the pixels, or the JPEG file, of each of the F frames.
    """
    seeds = np.ascontiguousarray(seconds, np.float64).view(np.uint64).tolist()
    return np.array([checksum(frame, seed) for frame, seed in zip(stored, seeds, strict=True)], np.uint64)
