"""The index: an HDF5 file of video and frame embeddings, and of what a query needs to be compared with them.

A video's row counts only once its status is ``DONE``, which is written after all else of it is on the disk.

Axes: N videos of a segment, T frames of them, E joint width.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.hdf5 import FileFormat, Segment, SegmentFile, unpack_string
from vopcli.progress import Progress

PENDING: Final = 0
DONE: Final = 1
BANK: Final = "querybank."  # what the names of its tensors begin with
REPLACED: Final = 2  # a newer row has the video's place

ROW: Final = np.dtype(
    [
        ("path", "<i8", (2,)),  # half-open byte range within "paths"
        ("root", "<i8", (2,)),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("sha256", "u1", (32,)),  # all zero: not known
        ("duration_seconds", "<f8"),
        ("first_frame", "<i8"),
        ("num_frames", "<i8"),
        ("num_real", "<i8"),  # the frames after these repeat the last one
        ("crc32", "<u4"),  # of everything that is stored of the video
    ]
)
FORMAT: Final = FileFormat(
    "vop-index",
    1,
    {
        "status": np.dtype("u1"),  # (N,)
        "rows": ROW,  # (N,)
        "paths": np.dtype("u1"),
        "video_embeddings": np.dtype("<f4"),  # (N, E), L2-normalised
        "frame_embeddings": np.dtype("<f2"),  # (T, E), L2-normalised before the rounding
        "seconds": np.dtype("<f8"),  # (T,) presentation times
    },
)
# where names and frames lie is not among them: that changes when an index is rewritten, and shows in them
_CHECKED: Final = ("size", "mtime_ns", "sha256", "duration_seconds", "num_frames", "num_real")
_HINT: Final = "`vop info FILE --verify` says more; make the index anew with `vop encode --overwrite`"


@dataclass(frozen=True)
class IndexMeta:
    """What an index says of itself: the model its embeddings come from, and how the frames were chosen.

    Attributes:
        weights: name or path of the backbone, as it was given.
        fingerprint: SHA-256 of the backbone's tensors.
        recipe: how frames were chosen and resized, as the frame store says it.
        embed_dim: E.
        adapter: what tuned the model, with its SHA-256; empty for the plain backbone.
        pooling: how frame embeddings become a video's.
    """

    weights: str
    fingerprint: str
    recipe: dict[str, Any]
    embed_dim: int
    adapter: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"

    @property
    def variant(self) -> str:
        """The tuning method; ``zero-shot`` for the plain backbone."""
        tuning = self.adapter.get("tuning")
        return str(tuning.get("variant")) if isinstance(tuning, dict) else "zero-shot"

    def attributes(self) -> dict[str, Any]:
        """Return the JSON document that stands in the file."""
        return {
            "backbone": {"weights": self.weights, "fingerprint": self.fingerprint},
            "variant": self.variant,
            "adapter": self.adapter,
            "recipe": self.recipe,
            "embed_dim": self.embed_dim,
            "pooling": self.pooling,
        }

    @classmethod
    def parse(cls, path: Path, attributes: dict[str, Any]) -> IndexMeta:
        """Read the document of :meth:`attributes`.

        Raises:
            DataError: something is missing or of the wrong type, or the variant is not known.
        """
        backbone = attributes.get("backbone")
        backbone = backbone if isinstance(backbone, dict) else {}
        values = [
            backbone.get("weights"),
            backbone.get("fingerprint"),
            attributes.get("recipe"),
            attributes.get("embed_dim"),
            attributes.get("adapter"),
            attributes.get("pooling"),
        ]
        kinds = [str, str, dict, int, dict, str]
        if not all(isinstance(value, kind) for value, kind in zip(values, kinds, strict=True)):
            raise DataError(f"{path} is damaged: it does not say which model it was made with", hint=_HINT)
        meta = cls(*values)  # type: ignore[arg-type]
        if meta.pooling != "mean":
            raise DataError(f"{path} was made with pooling {meta.pooling!r}, unknown here", hint="update vop")
        return meta


@dataclass(frozen=True)
class IndexedVideo:
    """One finished video of an index; ``row`` counts through all segments."""

    row: int
    path: str
    root: str
    size: int
    mtime_ns: int
    sha256: bytes  # empty when not known
    duration_seconds: float
    num_frames: int
    num_real: int

    @property
    def file(self) -> Path:
        """Where the video was when it was encoded."""
        return Path(self.root) / self.path


@dataclass(frozen=True)
class FrameBlock:
    """Some finished videos of a segment: their rows (N,), frames (T, E), and where theirs are among these.

    The frames of video i are those from ``firsts[i]`` on, ``counts[i]`` of them.
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.float16]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]


class VideoIndex:
    """An index as a reader sees it; embeddings are mapped into memory and read where they are touched."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            DataError: missing, not an index, of another version, or damaged.
            BusyError: being written by another process.
        """
        self._adopt(SegmentFile.read(path, FORMAT))

    @classmethod
    def of(cls, file: SegmentFile) -> VideoIndex:
        """Look at a file that is open already.

        Raises:
            DataError: it is damaged.
        """
        index = cls.__new__(cls)
        index._adopt(file)
        return index

    def _adopt(self, file: SegmentFile) -> None:
        self.path = file.path
        self.meta = IndexMeta.parse(file.path, file.attributes)
        self.segments = list(file.segments)  # a writer adds to the other one
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

    def videos(self) -> Iterator[IndexedVideo]:
        """Yield every finished video.

        Raises:
            DataError: a row is damaged.
        """
        for start, done in zip(self._starts, self.done, strict=False):
            for row in np.flatnonzero(done).tolist():
                yield self.video(start + row)

    def video(self, row: int) -> IndexedVideo:
        """Return what is known of a row.

        Raises:
            DataError: the row is damaged.
        """
        number, record = self._numbered(row)
        try:
            path = unpack_string(self._paths[number], *record["path"].tolist())
            root = unpack_string(self._paths[number], *record["root"].tolist())
        except ValueError as error:
            raise DataError(f"{self.path} is damaged: {error}", hint=_HINT) from error
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
        """Return a row's path, relative to its root.

        Raises:
            DataError: the row is damaged.
        """
        return self.video(row).path

    def frames_of(self, row: int) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
        """Return the frames of a video, the repeats of a short one included.

        Returns:
            (F, E) float16 embeddings and (F,) times in seconds.

        Raises:
            DataError: the row is damaged.
        """
        number, record = self._numbered(row)
        begin, count, real = (int(record[name]) for name in ("first_frame", "num_frames", "num_real"))
        seconds = self._seconds[number]
        if not (0 <= begin <= begin + count <= len(seconds) and 1 <= real <= count):
            raise DataError(f"{self.path} is damaged: row {row} lies outside its frames", hint=_HINT)
        frames = slice(begin, begin + count)
        return self._frames[number][frames], seconds[frames]

    def frame_blocks(self, num_videos: int = 512) -> Iterator[FrameBlock]:
        """Yield the frames of every finished video, of so many at a time.

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
                    raise DataError(f"{self.path} is damaged: a row lies outside its frames", hint=_HINT)
                yield FrameBlock(chosen + start, self._frames[number][low:high], firsts - low, counts)

    def crc_of(self, row: int) -> tuple[int, int]:
        """Return a row's checksum as stored, and as computed from what is there.

        Raises:
            DataError: the row is damaged.
        """
        record = self.record_of(row)
        frames, seconds = self.frames_of(row)
        video = self.video(row)
        crc = row_crc(record, video.path, video.root, self.embedding_of(row), frames, seconds)
        return int(record["crc32"]), crc

    def embedding_of(self, row: int) -> NDArray[np.float32]:
        """Return the embedding (E,) of a row."""
        number = bisect_right(self._starts, row) - 1
        return self.embeddings[number][row - self._starts[number]]

    def record_of(self, row: int) -> Any:
        """Return the row as it is stored, a ``ROW``."""
        return self._numbered(row)[1]

    def place_of(self, row: int) -> tuple[Segment, int]:
        """Return the segment that a row lies in, and its place there."""
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
                    hint=_HINT,
                )


def row_crc(
    record: Any,
    path: str,
    root: str,
    embedding: NDArray[np.float32],
    frames: NDArray[np.float16],
    seconds: NDArray[np.float64],
) -> int:
    """Return the CRC-32 of a video's numbers, its names, and everything that was computed from it."""
    numbers = [record[name].tobytes() for name in _CHECKED]
    names = [name.encode("utf-8", "surrogateescape") + b"\0" for name in (path, root)]
    value = zlib.crc32(b"".join(numbers + names))
    for array in (embedding, frames, seconds):
        value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, value)
    return value


def describe(path: Path) -> dict[str, Any]:
    """Return what an index holds, as JSON values.

    Raises:
        DataError: it cannot be read.
    """
    index = VideoIndex(path)
    statuses = [segment.map("status") for segment in index.segments]
    rows = [segment.map("rows")[done] for segment, done in zip(index.segments, index.done, strict=True)]
    return {
        "kind": FORMAT.name,
        "version": FORMAT.version,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "videos": len(index),
        "frames": int(sum(part["num_real"].sum() for part in rows)),
        "duration_seconds": float(sum(part["duration_seconds"].sum() for part in rows)),
        "unfinished": int(sum(np.count_nonzero(status == PENDING) for status in statuses)),
        "replaced": int(sum(np.count_nonzero(status == REPLACED) for status in statuses)),
        "segments": len(index.segments),
        **index.meta.attributes(),
    }


def verify(path: Path, progress: Progress) -> list[str]:
    """Read everything an index holds and compare it with its checksums.

    Returns:
        One line a problem; none when the index is sound.

    Raises:
        DataError: it cannot be read at all.
    """
    index = VideoIndex(path)
    problems = []
    with progress.task("Checking", total=len(index), unit="videos") as task:
        for number, (start, done) in enumerate(zip(index._starts, index.done, strict=False)):
            for place in np.flatnonzero(done).tolist():
                problems += _problems_of(index, start + place, index.embeddings[number][place])
                task.advance()
        statuses = [segment.map("status") for segment in index.segments]
        if any((status > REPLACED).any() for status in statuses):
            problems.append("a row has a status that does not exist")
    return problems


def _problems_of(index: VideoIndex, row: int, embedding: NDArray[np.float32]) -> list[str]:
    try:
        stored, computed = index.crc_of(row)
        if stored != computed:
            return [f"{index.path_of(row)}: the checksum does not fit what is stored of it"]
        norm = float(np.linalg.norm(embedding.astype(np.float64)))
        if not abs(norm - 1) < 1e-3 or not np.isfinite(index.frames_of(row)[0]).all():
            return [f"{index.path_of(row)}: its embeddings are not normalised"]
    except DataError as error:
        return [str(error)]
    return []
