"""The index: an HDF5 file of video and frame embeddings, and of the tensors that encode a query.

A row is valid once its status is ``DONE``, which is written after all other data of the video are on disk.

Axes: N videos of a segment, T frames of them, E joint width.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.arrays import (
    checksum,
    distinct,
    is_in,
    pack_strings,
    row_checksums,
    string_keys,
    unpack_string,
)
from vopcli.files.hdf5 import FileFormat, Segment, SegmentFile
from vopcli.index.checksums import frames_checksum, row_checksum
from vopcli.index.meta import DAMAGE_HINT, IndexMeta
from vopcli.index.thumbnails import SLOT_BYTES
from vopcli.video.video_file import KnownVideos, TimeWindow, VideoFile

PENDING: Final = 0  # a single flipped bit never turns another status into this one
DONE: Final = ord("D")
REPLACED: Final = ord("R")  # by a newer row of the video
FAILED: Final = ord("F")  # a video that cannot be decoded, without frames
STATUSES: Final = (PENDING, DONE, REPLACED, FAILED)
_ROWS_AT_ONCE: Final = 1 << 16
_FRAMES_OF: Final = ["first_frame", "num_frames", "num_real", "frames_checksum"]
HAS_WINDOWS: Final = "has_windows"  # attribute of segments
BANK: Final = "querybank."  # prefix of the query bank's tensor names

INDEX_ROW: Final = np.dtype(
    [
        ("path", "<i8", (2,)),  # half-open byte range within "paths"
        ("root", "<i8", (2,)),
        ("reason", "<i8", (2,)),  # of a failure; empty for other rows
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("sha256", "u1", (32,)),  # zeros: unknown
        ("name_hash", "<u8"),  # of path and root
        ("window", "<f8", (2,)),  # start and end in seconds; (0, inf): the whole video
        ("is_part", "u1"),  # a window of a long video, besides the row of the video itself
        ("duration_seconds", "<f8"),
        ("first_frame", "<i8"),
        ("num_frames", "<i8"),
        ("num_real", "<i8"),  # later frames repeat the last of these
        ("embedding_checksum", "<u8"),
        ("frames_checksum", "<u8"),  # of the frame embeddings and times
        ("row_checksum", "<u8"),  # of all fields before this one, the path, the root and the reason
    ]
)
INDEX_FORMAT: Final = FileFormat(
    "vop-index",
    3,
    {
        "status": np.dtype("u1"),  # (N,)
        "rows": INDEX_ROW,  # (N,)
        "paths": np.dtype("u1"),
        "video_embeddings": np.dtype("<f4"),  # (N, E), L2-normalised
        "frame_embeddings": np.dtype("<f2"),  # (T, E), L2-normalised before the rounding
        "seconds": np.dtype("<f8"),  # (T,) presentation times
    },
    "vop encode SRC... INDEX.h5 --overwrite",
    {"thumbnails": np.dtype("u1")},  # (T, SLOT_BYTES), see `pack_thumbnail`
)


@dataclass(frozen=True, kw_only=True)
class IndexedVideo(VideoFile):
    """A video of an index, a window of a long one (``is_part``), or one that failed for a ``reason``."""

    row: int  # counted through all segments
    window: TimeWindow
    is_part: bool
    duration_seconds: float
    num_frames: int
    num_real: int
    reason: str


class VideoIndex:
    """An index opened for reading; embeddings are memory-mapped and read on access."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            DataError: ``path`` is missing, not an index, of another version, or damaged.
        """
        self._adopt(SegmentFile.read(path, INDEX_FORMAT))

    @classmethod
    def of(cls, file: SegmentFile) -> VideoIndex:
        """Return a view of a file that is open already.

        Raises:
            DataError: the file is damaged.
        """
        index = cls.__new__(cls)
        index._adopt(file)
        return index

    def _adopt(self, file: SegmentFile) -> None:
        self.path = file.path
        self.state = f"{file.stat.st_size} {file.stat.st_mtime_ns} {file.stat.st_ino}"
        self.meta = IndexMeta.parse(file.path, file.attributes)
        self.segments = list(file.segments)  # a copy: a writer extends the other list
        for segment in file.segments:
            self._check_shapes(segment)
        tensors = file.map_tensors()
        self.bank_tensors = {
            n.removeprefix(BANK): tensors.pop(n) for n in list(tensors) if n.startswith(BANK)
        }
        self.text_tensors = tensors
        self.embeddings = [segment.map("video_embeddings") for segment in file.segments]
        self.done = [segment.status == DONE for segment in file.segments]
        if not all(np.isin(segment.status, STATUSES).all() for segment in file.segments):
            raise self.damaged("a row has an unknown status")
        self.records = [segment.map("rows") for segment in file.segments]
        # rows are read only of segments with windows: those of a large index take hundreds of megabytes
        self.is_video = [
            done & (rows["is_part"] == 0) if segment.attributes.get(HAS_WINDOWS) else done
            for segment, done, rows in zip(file.segments, self.done, self.records, strict=True)
        ]
        self._paths = [segment.map("paths") for segment in file.segments]
        self.frames = [segment.map("frame_embeddings") for segment in file.segments]
        self._seconds = [segment.map("seconds") for segment in file.segments]
        self.starts = [0, *np.cumsum([len(done) for done in self.done]).tolist()]

    def __len__(self) -> int:
        """Return the number of videos; windows of long ones do not count."""
        return int(sum(np.count_nonzero(is_video) for is_video in self.is_video))

    @property
    def has_windows(self) -> bool:
        """Whether windows of long videos have rows of their own."""
        return any(segment.attributes.get(HAS_WINDOWS) for segment in self.segments)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a video nor a window of one."""
        return not any(done.any() for done in self.done)

    def rows(self) -> Iterator[int]:
        """Yield the row of every video and window."""
        for start, done in zip(self.starts, self.done, strict=False):
            yield from (np.flatnonzero(done) + start).tolist()

    def videos(self) -> Iterator[IndexedVideo]:
        """Yield every video, without the windows of long ones.

        Raises:
            DataError: a row is damaged.
        """
        # `is_part` is tested after the row is compared with its checksum
        return (video for video in map(self.video, self.rows()) if not video.is_part)

    def windows_of(self, row: int, between: tuple[float, float] | None = None) -> list[int]:
        """Return the windows of a row's video in order of time, or the row itself if there are none.

        Windows encoded from an earlier version of the file, which may still be stored, are excluded.

        Args:
            row: a video or a window.
            between: two times in seconds; only windows that overlap the time between them are returned.
        """
        if not self.has_windows:
            return [row]
        own = self.record_of(row)
        columns = zip(self.starts, self.records, self._name_hashes, self.done, strict=False)
        numbers, seconds = [], []
        for start, rows, names, done in columns:
            places = np.flatnonzero((names == own["name_hash"]) & done)
            found = rows[places]
            is_window = found["is_part"] > 0
            is_window &= (found["size"] == own["size"]) & (found["mtime_ns"] == own["mtime_ns"])
            if between:
                is_window &= (found["window"][:, 1] > between[0]) & (found["window"][:, 0] < between[1])
            numbers.append(places[is_window] + start)
            seconds.append(found["window"][is_window, 0])
        order = np.argsort(np.concatenate(seconds), kind="stable")
        return np.concatenate(numbers)[order].tolist() or [row]

    @functools.cached_property
    def _name_hashes(self) -> list[NDArray[np.uint64]]:
        """Hash of each row's name by segment, copied out of the much larger rows."""
        return [np.array(rows["name_hash"]) for rows in self.records]

    @functools.cached_property
    def num_names(self) -> int:
        """Number of videos that have rows, those of an interrupted run included."""
        if not self.has_windows:
            return len(self)
        live = [names[done] for names, done in zip(self._name_hashes, self.done, strict=True)]
        return len(distinct(np.concatenate(live)))

    def span_of(self, row: int) -> tuple[float, float]:
        """Return start and end of a row's window in seconds; not compared with a checksum."""
        start, end = self._numbered(row)[1]["window"].tolist()
        return start, end

    def name_hash_of(self, row: int) -> int:
        """Return a number that the rows of a video share; not compared with a checksum."""
        return int(self._numbered(row)[1]["name_hash"])

    def video(self, row: int) -> IndexedVideo:
        """Return the video of a row.

        Raises:
            DataError: the row is damaged.
        """
        number, record = self._numbered(row)
        try:
            ranges = (record[name].tolist() for name in ("path", "root", "reason"))
            path, root, reason = (unpack_string(self._paths[number], *bounds) for bounds in ranges)
        except ValueError as error:
            raise self.damaged(str(error)) from error
        if row_checksum(record, path, root, reason) != int(record["row_checksum"]):
            raise self.damaged(f"row {row} does not match its checksum")
        return IndexedVideo(
            row=row,
            window=TimeWindow(*record["window"].tolist()),
            is_part=bool(record["is_part"]),
            path=path,
            root=root,
            size=int(record["size"]),
            mtime_ns=int(record["mtime_ns"]),
            sha256=record["sha256"].tobytes() if record["sha256"].any() else b"",
            duration_seconds=float(record["duration_seconds"]),
            num_frames=int(record["num_frames"]),
            num_real=int(record["num_real"]),
            reason=reason,
        )

    def rows_with(self, status: int) -> list[int]:
        """Return the rows with a status."""
        parts = zip(self.starts, self.segments, strict=False)
        found = [np.flatnonzero(part.status == status) + start for start, part in parts]
        return [row for rows in found for row in rows.tolist()]

    def find(self, files: Iterable[VideoFile]) -> KnownVideos[IndexedVideo]:
        """Return the videos that have the path or the size of one of ``files``.

        Reads all rows in blocks, and makes objects of the matching ones only.

        Raises:
            DataError: a matching row is damaged.
        """
        files = list(files)
        sizes = distinct(np.array([file.size for file in files], np.int64))
        packed, ranges = pack_strings([file.path for file in files])
        keys = distinct(string_keys(ranges, packed))
        found = []
        for start, segment, done in zip(self.starts, self.segments, self.done, strict=False):
            for begin in range(0, len(done), _ROWS_AT_ONCE):
                rows = segment.map("rows")[begin : begin + _ROWS_AT_ONCE]
                is_found = is_in(rows["size"], sizes)
                is_found |= is_in(string_keys(rows["path"], segment.map("paths")), keys)
                is_found &= done[begin : begin + _ROWS_AT_ONCE]
                found += (np.flatnonzero(is_found) + start + begin).tolist()
                segment.release()
        known: KnownVideos[IndexedVideo] = KnownVideos()
        for video in map(self.video, found):
            if video.is_part:
                known.parts.setdefault(video.path, []).append(video)
            else:
                known.videos[video.path] = video
        return known

    def path_of(self, row: int) -> str:
        """Return the path of a row's video, relative to its root.

        Raises:
            DataError: the row is damaged.
        """
        return self.video(row).path

    def frames_of(self, row: int) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
        """Return all frames of a video, including the repeated ones of a short video.

        Returns:
            (F, E) float16 embeddings and (F,) times in seconds.

        Raises:
            DataError: the row is damaged.
        """
        [(frames, seconds, _)] = self.frames_of_rows([row])
        return frames, seconds

    def frames_of_rows(
        self, rows: Iterable[int]
    ) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float64], int]]:
        """Yield the frames (F, E) of each row, their times (F,), and the number of them without repeats.

        Raises:
            DataError: a row is damaged.
        """
        for row in rows:
            number, record = self._numbered(row)
            begin, count, real, expected = record[_FRAMES_OF].item()
            if not (0 <= begin <= begin + count <= len(self._seconds[number]) and 1 <= real <= count):
                raise self.damaged(f"row {row} lies outside its frames")
            frames = self.frames[number][begin : begin + count]
            seconds = self._seconds[number][begin : begin + count]
            if frames_checksum(frames, seconds) != expected:
                raise self.damaged(f"the frames of {self.path_of(row)} do not match their checksum")
            yield frames, seconds, real

    def embedding_of(self, row: int) -> NDArray[np.float32]:
        """Return the video embedding (E,) of a row.

        Raises:
            DataError: the embedding is damaged.
        """
        number, record = self._numbered(row)
        embedding = self.embeddings[number][row - self.starts[number]]
        if checksum(embedding) != int(record["embedding_checksum"]):
            raise self.damaged(f"the embedding of {self.path_of(row)} does not match its checksum")
        return embedding

    def verify_once(self, part: Literal["embeddings", "frames"], cache: Path) -> None:
        """Verify the embeddings or frames of all rows, unless this state of the file is known to be intact.

        Args:
            part: the data to compare with their checksums.
            cache: folder that remembers the size and modification time of verified files.

        Raises:
            DataError: a row is damaged.
        """
        name = hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()
        stamp = cache / "verified" / f"{name[:32]}-{part}"
        with contextlib.suppress(OSError):
            if stamp.read_text(encoding="ascii") == self.state:
                return
        if part == "embeddings":
            self._verify_embeddings()
        else:
            for row in self.rows():
                self.frames_of(row)
        with contextlib.suppress(OSError):  # without a cache, each process verifies the file
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(self.state, encoding="ascii")

    def _verify_embeddings(self) -> None:
        for start, embeddings, rows, done in zip(
            self.starts, self.embeddings, self.records, self.done, strict=False
        ):
            differs = (row_checksums(embeddings) != rows["embedding_checksum"]) & done
            if differs.any():
                self.embedding_of(start + int(differs.argmax()))

    def record_of(self, row: int) -> Any:
        """Return the stored record of a row, of dtype ``INDEX_ROW``."""
        return self._numbered(row)[1]

    def position_of(self, row: int) -> tuple[Segment, int]:
        """Return the segment of a row, and its position in the segment."""
        number = bisect_right(self.starts, row) - 1
        return self.segments[number], row - self.starts[number]

    def damaged(self, reason: str) -> DataError:
        """Return the error of a damaged index."""
        return DataError(f"{self.path} is damaged: {reason}", hint=DAMAGE_HINT)

    def _numbered(self, row: int) -> tuple[int, Any]:
        number = bisect_right(self.starts, row) - 1
        return number, self.records[number][row - self.starts[number]]

    def _check_shapes(self, segment: Segment) -> None:
        columns, width = segment.columns, self.meta.embed_dim
        videos, frames = columns["status"].shape[0], columns["seconds"].shape[0]
        shapes = {
            **dict.fromkeys(("status", "rows"), (videos,)),
            "paths": columns["paths"].shape[:1],
            "video_embeddings": (videos, width),
            "frame_embeddings": (frames, width),
            "seconds": (frames,),
            "thumbnails": (frames, SLOT_BYTES),
        }
        for name, shape in shapes.items():
            if name in columns and columns[name].shape != shape:
                raise self.damaged(f"{name} has shape {columns[name].shape} instead of {shape}")
