"""The index: an HDF5 file of video and frame embeddings, and of the tensors that encode a query.

A row is valid once its status is ``DONE``, which is written after all other data of the video are on disk.

Axes: N videos of a segment, T frames of them, E joint width.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.hdf5 import FileFormat, Segment, SegmentFile
from vopcli.files.packed_strings import unpack_string
from vopcli.index.meta import DAMAGE_HINT, IndexMeta
from vopcli.video.video_file import VideoFile

PENDING: Final = 0
DONE: Final = 1
BANK: Final = "querybank."  # prefix of the query bank's tensor names
REPLACED: Final = 2  # by a newer row of the video

INDEX_ROW: Final = np.dtype(
    [
        ("path", "<i8", (2,)),  # half-open byte range within "paths"
        ("root", "<i8", (2,)),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("sha256", "u1", (32,)),  # zeros: unknown
        ("duration_seconds", "<f8"),
        ("first_frame", "<i8"),
        ("num_frames", "<i8"),
        ("num_real", "<i8"),  # later frames repeat the last of these
        ("crc32", "<u4"),  # of all data of the video
    ]
)
INDEX_FORMAT: Final = FileFormat(
    "vop-index",
    1,
    {
        "status": np.dtype("u1"),  # (N,)
        "rows": INDEX_ROW,  # (N,)
        "paths": np.dtype("u1"),
        "video_embeddings": np.dtype("<f4"),  # (N, E), L2-normalised
        "frame_embeddings": np.dtype("<f2"),  # (T, E), L2-normalised before the rounding
        "seconds": np.dtype("<f8"),  # (T,) presentation times
    },
)
# Offsets of names and frames are left out: they change when the index is rewritten.
_CHECKED: Final = ("size", "mtime_ns", "sha256", "duration_seconds", "num_frames", "num_real")


@dataclass(frozen=True, kw_only=True)
class IndexedVideo(VideoFile):
    """A video of an index; ``row`` counts through all segments."""

    row: int
    duration_seconds: float
    num_frames: int
    num_real: int


@dataclass(frozen=True)
class FrameBlock:
    """Videos of one segment: rows (N,), frames (T, E), and the position of each video's frames.

    Video i has the frames ``firsts[i]`` to ``firsts[i] + counts[i]``.
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.float16]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]


class VideoIndex:
    """An index opened for reading; embeddings are memory-mapped and read on access."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            DataError: ``path`` is missing, not an index, of another version, or damaged.
            BusyError: another process writes ``path``.
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
        self.done = [np.array(segment.map("status")) == DONE for segment in file.segments]
        self._rows = [segment.map("rows") for segment in file.segments]
        self._paths = [segment.map("paths") for segment in file.segments]
        self._frames = [segment.map("frame_embeddings") for segment in file.segments]
        self._seconds = [segment.map("seconds") for segment in file.segments]
        self._starts = [0, *np.cumsum([len(done) for done in self.done]).tolist()]

    def __len__(self) -> int:
        return int(sum(np.count_nonzero(done) for done in self.done))

    def rows(self) -> Iterator[int]:
        """Yield the row of every video."""
        for start, done in zip(self._starts, self.done, strict=False):
            for place in np.flatnonzero(done).tolist():
                yield start + place

    def videos(self) -> Iterator[IndexedVideo]:
        """Yield every video.

        Raises:
            DataError: a row is damaged.
        """
        return map(self.video, self.rows())

    def video(self, row: int) -> IndexedVideo:
        """Return the video of a row.

        Raises:
            DataError: the row is damaged.
        """
        number, record = self._numbered(row)
        try:
            path = unpack_string(self._paths[number], *record["path"].tolist())
            root = unpack_string(self._paths[number], *record["root"].tolist())
        except ValueError as error:
            raise DataError(f"{self.path} is damaged: {error}", hint=DAMAGE_HINT) from error
        return IndexedVideo(
            row=row,
            path=path,
            root=root,
            size=int(record["size"]),
            mtime_ns=int(record["mtime_ns"]),
            sha256=record["sha256"].tobytes() if record["sha256"].any() else b"",
            duration_seconds=float(record["duration_seconds"]),
            num_frames=int(record["num_frames"]),
            num_real=int(record["num_real"]),
        )

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
        number, record = self._numbered(row)
        begin, count, real = (int(record[name]) for name in ("first_frame", "num_frames", "num_real"))
        seconds = self._seconds[number]
        if not (0 <= begin <= begin + count <= len(seconds) and 1 <= real <= count):
            raise DataError(f"{self.path} is damaged: row {row} lies outside its frames", hint=DAMAGE_HINT)
        frames = slice(begin, begin + count)
        return self._frames[number][frames], seconds[frames]

    def frame_blocks(self, num_videos: int = 512) -> Iterator[FrameBlock]:
        """Yield the frames of all videos, in blocks of ``num_videos``.

        Raises:
            DataError: a row is damaged.
        """
        for number, (start, done) in enumerate(zip(self._starts, self.done, strict=False)):
            places = np.flatnonzero(done)
            for begin in range(0, len(places), num_videos):
                chosen = places[begin : begin + num_videos]
                records = self._rows[number][chosen]
                firsts, counts = records["first_frame"], records["num_frames"]
                low, high = int(firsts.min()), int((firsts + counts).max())
                if low < 0 or counts.min() < 1 or high > len(self._frames[number]):
                    raise DataError(
                        f"{self.path} is damaged: a row lies outside its frames", hint=DAMAGE_HINT
                    )
                yield FrameBlock(chosen + start, self._frames[number][low:high], firsts - low, counts)

    def crc_of(self, row: int) -> tuple[int, int]:
        """Return the stored checksum of a row, and the checksum of its data.

        Raises:
            DataError: the row is damaged.
        """
        record = self.record_of(row)
        frames, seconds = self.frames_of(row)
        video = self.video(row)
        crc = row_crc(record, video.path, video.root, self.embedding_of(row), frames, seconds)
        return int(record["crc32"]), crc

    def embedding_of(self, row: int) -> NDArray[np.float32]:
        """Return the video embedding (E,) of a row."""
        number = bisect_right(self._starts, row) - 1
        return self.embeddings[number][row - self._starts[number]]

    def record_of(self, row: int) -> Any:
        """Return the stored record of a row, of dtype ``ROW``."""
        return self._numbered(row)[1]

    def position_of(self, row: int) -> tuple[Segment, int]:
        """Return the segment of a row, and its position in the segment."""
        number = bisect_right(self._starts, row) - 1
        return self.segments[number], row - self._starts[number]

    def _numbered(self, row: int) -> tuple[int, Any]:
        number = bisect_right(self._starts, row) - 1
        return number, self._rows[number][row - self._starts[number]]

    def _check_shapes(self, segment: Segment) -> None:
        columns, width = segment.columns, self.meta.embed_dim
        videos, frames = columns["status"].shape[0], columns["seconds"].shape[0]
        shapes = {
            "status": (videos,),
            "rows": (videos,),
            "paths": columns["paths"].shape[:1],
            "video_embeddings": (videos, width),
            "frame_embeddings": (frames, width),
            "seconds": (frames,),
        }
        for name, shape in shapes.items():
            if columns[name].shape != shape:
                raise DataError(
                    f"{self.path} is damaged: {name} has shape {columns[name].shape} instead of {shape}",
                    hint=DAMAGE_HINT,
                )


def row_crc(
    record: Any,
    path: str,
    root: str,
    embedding: NDArray[np.float32],
    frames: NDArray[np.float16],
    seconds: NDArray[np.float64],
) -> int:
    """Return the CRC-32 of a video's numbers, names, embeddings and times."""
    numbers = [record[name].tobytes() for name in _CHECKED]
    names = [name.encode("utf-8", "surrogateescape") + b"\0" for name in (path, root)]
    value = zlib.crc32(b"".join(numbers + names))
    for array in (embedding, frames, seconds):
        value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, value)
    return value
