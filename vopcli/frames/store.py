"""Read a frame store: the decoded, resized frames of many videos in one HDF5 file."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.layout import check_shapes, frame_slots, row_fits, used_frames
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status, latest, unpack_rows
from vopcli.progress import Progress, SilentProgress
from vopcli.video.sampling import WHOLE, TimeWindow
from vopcli.video.video_file import VideoFile


@dataclass(frozen=True, kw_only=True)
class StoredVideo(VideoFile):
    """A video whose frames are in a store.

    Attributes:
        window: the part of it that was sampled.
        duration_seconds: how long it plays.
        fps: frames a second, on average.
        width: pixels across as displayed.
        height: pixels down as displayed.
        rotation_degrees: by how much the coded picture is turned to be displayed.
        num_real: of the F frames, those that are the video's own; the rest repeats the last of them.
        num_frames: frames that are read, F; the store has C candidates for each, as its recipe says.
        num_bad_packets: packets of the video that could not be decoded.
        segment: number of the segment that holds the frames.
        first_frame: place in it of the first of the F * C.
        frames_crc32: CRC-32 of the times and pixels of all of them.
        seconds: (F,) float64, when each frame is presented, the middle candidate where there are several.
    """

    window: TimeWindow
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
    frames_crc32: int
    seconds: NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def content_sha256(self) -> bytes:
        """A hash, 32 bytes, of what the frames show: of the file, and where only a part counts, of both."""
        if self.window == WHOLE:
            return self.sha256
        window = struct.pack("<2d", self.window.start_seconds, self.window.end_seconds)
        return hashlib.sha256(self.sha256 + window).digest()


class FrameStore:
    """A frame store as a reader sees it.

    It may be pickled, and used after a fork: nothing but the file name is passed on.

    Attributes:
        path: the file.
        recipe: how the frames were made.
        videos: what is stored, sorted by path.
        failures: path and reason of each video that could not be decoded.
        used_frames: for each segment, after which frame its free room begins.
        num_unfinished: videos that a run planned and did not finish; many are stored by a later one.
        num_damaged_rows: entries that cannot be read, because the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._contents = SegmentFile.read(path, FRAME_FORMAT)
        self.recipe = Recipe.from_attributes(path, self._contents.attributes)
        self.segments = self._contents.segments
        check_shapes(path, self.segments, self.recipe)
        rows = [row for segment in self.segments for row in unpack_rows(segment)]
        state = latest(rows)
        self.used_frames = used_frames(rows, self.segments, self.recipe)
        good = {path: row for path, row in state.items() if row_fits(row, self.segments, self.recipe)}
        self.num_unfinished = sum(row is not None and row.status is Status.PENDING for row in rows)
        self.num_damaged_rows = rows.count(None) + len(state) - len(good)
        self.rows = sorted(good.values(), key=lambda row: row.path.encode("utf-8", "surrogateescape"))
        self._seconds = [segment.map("seconds") for segment in self.segments]
        self._data = [segment.map(self._data_column) for segment in self.segments]
        self.videos = [self._stored(row) for row in self.rows if row.status is Status.DONE]
        self.failures = [(row.path, row.error) for row in self.rows if row.status is Status.FAILED]

    @classmethod
    def open(cls, path: Path) -> FrameStore:
        """Read what ``path`` holds; frames are read later.

        Raises:
            DataError: missing, no frame store, of another version, or damaged.
            BusyError: being written by another process.
        """
        return cls(path)

    def __reduce__(self) -> tuple[type[FrameStore], tuple[Path]]:
        return FrameStore, (self.path,)

    @property
    def num_places(self) -> list[int]:
        """For each segment, how many frames it has places for, used or not."""
        return [frame_slots(segment, self.recipe) for segment in self.segments]

    @property
    def _data_column(self) -> str:
        return "frames" if self.recipe.codec == "raw" else "frame_bytes"

    def read(self, video: StoredVideo) -> NDArray[np.uint8]:
        """Return the frames of one video, (F, S, S, 3) uint8 RGB; the middle one of several candidates.

        Raises:
            DataError: its JPEG data are damaged.
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

        Of raw pixels nothing else is read; of JPEG files the others' bytes are, for the checksum.

        Args:
            videos: what to read.
            out: (B, F, S, S, 3) uint8, filled from its first row on; B may be larger than ``videos``.
            candidates: (B, F) integers in ``[0, C)``, which candidate to read for each frame; None reads the
                middle ones.

        Returns:
            The filled rows of ``out``.

        Raises:
            DataError: the JPEG data of a video are damaged.
            ValueError: ``out`` has no room for so many videos, or for another number of frames; or there are
                no such candidates.
        """
        expected = (self.recipe.size, self.recipe.size, 3)
        if len(videos) > len(out) or out.shape[2:] != expected or out.dtype != np.uint8:
            raise ValueError(f"{out.shape} {out.dtype} has no room for {len(videos)} videos of {expected}")
        if any(video.num_frames != out.shape[1] for video in videos):
            raise ValueError(f"{out.shape} takes {out.shape[1]} frames of each video, and one has others")
        offsets = None if candidates is None else self._offsets(candidates, (len(videos), out.shape[1]))
        for i, video in enumerate(videos):
            if self.recipe.codec == "jpeg":
                self._read_jpeg(video, out[i], None if offsets is None else offsets[i])
            elif offsets is None:
                middles = self._places(video)[self._middle :: self.recipe.candidates]
                np.copyto(out[i], self._data[video.segment][middles.start : middles.stop : middles.step])
            else:
                # Without "clip", which has nothing to clip, take would not write into out directly.
                np.take(self._data[video.segment], video.first_frame + offsets[i], 0, out[i], "clip")
        return out[: len(videos)]

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Read everything and return what is damaged, a sentence for each problem."""
        problems = []
        if self.num_damaged_rows:
            problems.append(f"{self.num_damaged_rows} entries are damaged")
        with (progress or SilentProgress()).task("verify", total=len(self.videos), unit="videos") as task:
            for video in self.videos:
                if self._crc32(video) == video.frames_crc32:
                    task.advance()
                else:
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

    def _places(self, video: StoredVideo) -> range:
        """Return where all frames of a video are in its segment."""
        return range(video.first_frame, video.first_frame + video.num_frames * self.recipe.candidates)

    def _offsets(self, candidates: NDArray[np.integer[Any]], shape: tuple[int, int]) -> NDArray[np.intp]:
        """Return how far after its video's first frame each chosen candidate is, (B, F).

        Raises:
            ValueError: there are no such candidates.
        """
        each = self.recipe.candidates
        if candidates.shape != shape or candidates.min() < 0 or candidates.max() >= each:
            raise ValueError(
                f"{candidates.shape} candidates, where {shape} of 0 to {each - 1} are to be chosen"
            )
        return np.arange(shape[1]) * each + candidates.astype(np.intp)

    def _encoded(self, video: StoredVideo) -> list[NDArray[np.uint8]]:
        """Return the stored bytes of each frame, of all candidates."""
        places = self._places(video)
        place, data = slice(places.start, places.stop), self._data[video.segment]
        if self.recipe.codec == "raw":
            return list(data[place])
        return [data[start:end] for start, end in self.segments[video.segment].map("frame_ranges")[place]]

    def _crc32(self, video: StoredVideo) -> int:
        places = self._places(video)
        return frames_crc32(self._seconds[video.segment][places.start : places.stop], self._encoded(video))

    def _read_jpeg(
        self, video: StoredVideo, out: NDArray[np.uint8], offsets: NDArray[np.intp] | None
    ) -> None:
        import cv2

        # What is damaged decodes as well, into another picture.
        is_sound = self._crc32(video) == video.frames_crc32
        files = self._encoded(video)
        wanted = files[self._middle :: self.recipe.candidates]
        if offsets is not None:
            wanted = [files[offset] for offset in offsets]
        for target, encoded in zip(out, wanted, strict=True):
            picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if is_sound and len(encoded) else None
            if picture is None or picture.shape != target.shape:
                raise DataError(
                    f"the frames of {video.path} in {self.path} are damaged", hint="make the file anew"
                )
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=target)


def frames_crc32(seconds: NDArray[np.float64], encoded: Sequence[NDArray[np.uint8]]) -> int:
    """Return the CRC-32 over the times of frames and their stored bytes."""
    crc = zlib.crc32(np.ascontiguousarray(seconds).data)
    for frame in encoded:
        crc = zlib.crc32(np.ascontiguousarray(frame).reshape(-1).data, crc)
    return crc
