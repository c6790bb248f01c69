"""Write an index: add videos so that a kill loses only those in flight, or rewrite the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vopcli.files.arrays import checksum, pack_strings
from vopcli.files.atomic import atomic_path
from vopcli.files.hdf5 import Segment
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file
from vopcli.index.checksums import frames_checksum, name_hash, row_checksum
from vopcli.index.leftovers import failures_of
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import (
    DONE,
    FAILED,
    HAS_WINDOWS,
    INDEX_FORMAT,
    INDEX_ROW,
    REPLACED,
    IndexedVideo,
    VideoIndex,
)
from vopcli.index.thumbnails import SLOT_BYTES, has_thumbnails, slots_of
from vopcli.video.video_file import WHOLE, KnownVideos, TimeWindow, VideoFile, is_same_file

_COPIED_ROWS: Final = 4096  # copied at a time, to bound memory


@dataclass(frozen=True, kw_only=True)
class NewVideo(VideoFile):
    """A video to encode, or a window of a long one, with space for ``num_frames`` frames."""

    num_frames: int
    window: TimeWindow = WHOLE
    is_part: bool = False


@dataclass(frozen=True)
class EncodedVideo:
    """Embeddings of a video.

    Attributes:
        slot: position of the video in the list that was passed to `IndexWriter.lay_out`.
        embedding: (E,) float32, L2-normalised.
        frames: (F, E) float16, L2-normalised before the rounding.
        seconds: (F,) presentation times.
        num_real: number of frames that do not repeat the last one.
        duration_seconds: duration of the video.
        sha256: hash of the file, if it was unknown to `IndexWriter.lay_out`.
        thumbnails: (F, SLOT_BYTES) uint8, see `pack_thumbnail`; None: none.
    """

    slot: int
    embedding: NDArray[np.float32]
    frames: NDArray[np.float16]
    seconds: NDArray[np.float64]
    num_real: int
    duration_seconds: float
    sha256: bytes = b""
    thumbnails: NDArray[np.uint8] | None = None


def rows_bytes(videos: Sequence[NewVideo], embed_dim: int, *, thumbnails: bool) -> int:
    """Return the bytes that videos take in an index, without alignment and metadata."""
    packed, _ = pack_strings([name for video in videos for name in (video.path, video.root)])
    num_frames = sum(video.num_frames for video in videos)
    empty = _empty_columns(len(videos), num_frames, embed_dim, thumbnails=thumbnails)
    dtypes = {**INDEX_FORMAT.columns, **INDEX_FORMAT.optional}
    written = sum(math.prod(shape) * dtypes[name].itemsize for name, shape in empty.items())
    return packed.nbytes + (1 + INDEX_ROW.itemsize) * len(videos) + written


class VideoWriter(Protocol):
    """Writes an index, in a file (`IndexWriter`) or a search engine; a context manager."""

    @property
    def index(self) -> VideoIndex:
        """The index as it was opened."""

    @property
    def older(self) -> KnownVideos[IndexedVideo]:
        """The row of each video that `lay_out` was called with and that is in the index already, by path."""

    def __enter__(self) -> VideoWriter: ...

    def __exit__(self, *exception: object) -> None: ...

    def lay_out(self, videos: Sequence[NewVideo], *, thumbnails: bool = False) -> None:
        """Prepare to add ``videos``; to be called once, with at least one video."""

    def add(self, encoded: Sequence[EncodedVideo], replaced: Sequence[int] = ()) -> None:
        """Write videos, and remove ``replaced`` and the rows that they replace."""

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows of `current`."""

    def note_failures(self, failed: Sequence[tuple[VideoFile, str]]) -> None:
        """Remember videos that cannot be decoded, with the reasons."""

    def current(self) -> VideoIndex:
        """Return the index with the videos added so far."""

    def rewrite(self, rows: Sequence[int], tensors: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """Keep the given rows of `current` only, and add or replace tensors; the last call."""


class IndexWriter:
    """An index opened for writing and locked; a context manager.

    Attributes:
        index: the index as it was opened.
        older: the row of each video that `lay_out` was called with and that is in the index already, by path.
    """

    def __init__(self, path: Path) -> None:
        """Open an existing index.

        Raises:
            DataError: ``path`` is missing, not an index, of another version, or damaged.
            BusyError: another process writes ``path``.
        """
        self._file = SegmentWriter(path, INDEX_FORMAT)
        try:
            self.index = VideoIndex.of(self._file.contents)
        except BaseException:
            self._file.__exit__()
            raise
        self.older: KnownVideos[IndexedVideo] = KnownVideos()
        self._segment: Segment | None = None
        self._new: Sequence[NewVideo] = ()
        self._rows = np.empty(0, INDEX_ROW)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.__exit__(*exception)

    def lay_out(self, videos: Sequence[NewVideo], *, thumbnails: bool = False) -> None:
        """Allocate space for ``videos`` on disk; to be called once, with at least one video.

        Args:
            videos: the videos and windows.
            thumbnails: allocate space for thumbnails.

        Raises:
            FileError: the disk is full; the index is unchanged.
        """
        packed, ranges = pack_strings([name for video in videos for name in (video.path, video.root)])
        rows = np.zeros(len(videos), INDEX_ROW)
        rows["path"], rows["root"] = ranges[0::2], ranges[1::2]
        rows["size"] = [video.size for video in videos]
        rows["mtime_ns"] = [video.mtime_ns for video in videos]
        for row, video in zip(rows, videos, strict=True):
            row["sha256"] = np.frombuffer(video.sha256 or bytes(32), np.uint8)
            row["name_hash"] = name_hash(video.path, video.root)
            row["window"] = video.window.start_seconds, video.window.end_seconds
            row["is_part"] = video.is_part
        counts = np.array([video.num_frames for video in videos], np.int64)
        rows["num_frames"] = counts
        rows["first_frame"] = np.cumsum(counts) - counts
        width, frames = self.index.meta.embed_dim, int(counts.sum())
        self._segment = self._file.add_segment(
            {HAS_WINDOWS: any(video.is_part for video in videos)},
            {"status": np.zeros(len(videos), np.uint8), "rows": rows, "paths": packed},
            _empty_columns(len(videos), frames, width, thumbnails=thumbnails),
        )
        self._new, self._rows = list(videos), rows
        self.older = self.index.find(videos)

    def add(self, encoded: Sequence[EncodedVideo], replaced: Sequence[int] = ()) -> None:
        """Write videos, wait until their data are on disk, and then mark them as done.

        Args:
            encoded: the videos.
            replaced: rows of `index` to mark as replaced in the same step, such as those of a renamed file.

        Raises:
            FileError: the disk is full or failed; the videos are not marked as done.
            ValueError: `lay_out` was not called, or a video does not fit its space.
        """
        if self._segment is None:
            raise ValueError("call lay_out first")
        for video in encoded:
            self._write(self._segment, video)
        statuses = [(self._segment, video.slot, DONE) for video in encoded]
        older = [row for video in encoded for row in self._older(self._new[video.slot])]
        statuses += [(*self.index.position_of(row), REPLACED) for row in (*replaced, *older)]
        self._file.write_statuses(statuses)

    def _older(self, new: NewVideo) -> list[int]:
        """Return the rows that a video replaces: its own, and windows of another state of the file."""
        if new.is_part:
            return []
        rows = [part.row for part in self.older.parts.get(new.path, []) if not is_same_file(part, new)]
        video = self.older.videos.get(new.path)
        return rows if video is None else [*rows, video.row]

    def remove(self, rows: Sequence[int]) -> None:
        """Mark rows of `current` as replaced, such as those of a video that failed.

        Raises:
            FileError: the disk failed.
        """
        if not rows:  # opening the index again takes time
            return
        current = self.current()
        self._file.write_statuses([(*current.position_of(row), REPLACED) for row in rows])

    def note_failures(self, failed: Sequence[tuple[VideoFile, str]]) -> None:
        """Remember videos that cannot be decoded, with the reasons; they replace earlier failures.

        Raises:
            FileError: the disk is full; the index is unchanged.
        """
        if failed:
            _add_failures(self._file, self.index.meta.embed_dim, failed)

    def current(self) -> VideoIndex:
        """Return the index with the videos added so far; `index` shows it as it was opened."""
        return VideoIndex.of(self._file.contents)

    def rewrite(self, rows: Sequence[int], tensors: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """Replace the file by a copy of the given rows in one segment; the last call on a writer.

        Args:
            rows: rows of `current` to keep.
            tensors: tensors to add to the file, or to replace.

        Raises:
            DataError: a row is damaged.
            FileError: the disk is full; the index is unchanged.
        """
        contents = self._file.contents
        with atomic_path(contents.path) as temporary:
            temporary.unlink()
            create_segment_file(
                temporary, INDEX_FORMAT, contents.attributes, {**contents.map_tensors(), **(tensors or {})}
            )
            current = self.current()
            failed = [(video, video.reason) for video in failures_of(current).values()]
            with SegmentWriter(temporary, INDEX_FORMAT) as new:
                if rows:
                    _copy(current, rows, new)
                if failed:
                    _add_failures(new, current.meta.embed_dim, failed)

    def _write(self, segment: Segment, video: EncodedVideo) -> None:
        new, row, count = self._new[video.slot], self._rows[video.slot], len(video.frames)
        if not 1 <= video.num_real <= count <= new.num_frames or len(video.seconds) != count:
            raise ValueError(f"{new.path}: {count} frames, {video.num_real} real, space for {new.num_frames}")
        row["num_frames"], row["num_real"] = count, video.num_real
        row["duration_seconds"] = video.duration_seconds
        if video.sha256:
            row["sha256"] = np.frombuffer(video.sha256, np.uint8)
        first = int(row["first_frame"])
        row["embedding_checksum"] = checksum(video.embedding)
        row["frames_checksum"] = frames_checksum(video.frames, video.seconds)
        row["row_checksum"] = row_checksum(row, new.path, new.root)
        self._file.write(segment, "video_embeddings", video.slot, video.embedding[None])
        self._file.write(segment, "frame_embeddings", first, video.frames)
        self._file.write(segment, "seconds", first, video.seconds)
        if video.thumbnails is not None and "thumbnails" in segment.columns:  # new space is zeros: none
            self._file.write(segment, "thumbnails", first, video.thumbnails)
        self._file.write(segment, "rows", video.slot, self._rows[video.slot : video.slot + 1])


def create_index(
    path: Path, meta: IndexMeta, text_tensors: Mapping[str, NDArray[np.float32]] | None = None
) -> None:
    """Create an empty index; ``text_tensors`` are those of an adapter's text tower.

    Raises:
        FileError: ``path`` exists, or its folder is not writable.
    """
    create_segment_file(path, INDEX_FORMAT, meta.attributes(), text_tensors)


def _add_failures(file: SegmentWriter, width: int, failed: Sequence[tuple[VideoFile, str]]) -> None:
    packed, ranges = pack_strings([text for video, why in failed for text in (video.path, video.root, why)])
    rows = np.zeros(len(failed), INDEX_ROW)
    rows["path"], rows["root"], rows["reason"] = ranges[0::3], ranges[1::3], ranges[2::3]
    for row, (video, reason) in zip(rows, failed, strict=True):
        row["size"], row["mtime_ns"] = video.size, video.mtime_ns
        row["name_hash"] = name_hash(video.path, video.root)
        row["row_checksum"] = row_checksum(row, video.path, video.root, reason)
    file.add_segment(
        {HAS_WINDOWS: False},
        {"status": np.full(len(failed), FAILED, np.uint8), "rows": rows, "paths": packed},
        _empty_columns(len(failed), 0, width, thumbnails=False),
    )


def _copy(index: VideoIndex, rows: Sequence[int], new: SegmentWriter) -> None:
    videos = [index.video(row) for row in rows]
    packed, ranges = pack_strings([name for video in videos for name in (video.path, video.root)])
    records = np.stack([index.record_of(row) for row in rows])
    records["path"], records["root"], records["reason"] = ranges[0::2], ranges[1::2], 0
    firsts = np.cumsum(records["num_frames"]) - records["num_frames"]
    records["first_frame"] = firsts
    for record, video in zip(records, videos, strict=True):
        record["row_checksum"] = row_checksum(record, video.path, video.root)
    width, frames = index.meta.embed_dim, int(records["num_frames"].sum())
    segment = new.add_segment(
        {HAS_WINDOWS: any(video.is_part for video in videos)},
        {"status": np.full(len(rows), DONE, np.uint8), "rows": records, "paths": packed},
        _empty_columns(len(rows), frames, width, thumbnails=any(has_thumbnails(index, row) for row in rows)),
    )
    for begin in range(0, len(rows), _COPIED_ROWS):
        part = rows[begin : begin + _COPIED_ROWS]
        found = [index.frames_of(row) for row in part]
        embeddings = np.stack([index.embedding_of(row) for row in part])
        new.write(segment, "video_embeddings", begin, embeddings)
        new.write(
            segment, "frame_embeddings", int(firsts[begin]), np.concatenate([item[0] for item in found])
        )
        new.write(segment, "seconds", int(firsts[begin]), np.concatenate([item[1] for item in found]))
        if "thumbnails" in segment.columns:
            for row, first in zip(part, firsts[begin:].tolist(), strict=False):
                if (slots := slots_of(index, row)) is not None:
                    new.write(segment, "thumbnails", first, slots)


def _empty_columns(
    num_rows: int, num_frames: int, width: int, *, thumbnails: bool
) -> dict[str, tuple[int, ...]]:
    """Return the columns that are written after a segment was added, with their shapes."""
    columns: dict[str, tuple[int, ...]] = {
        "video_embeddings": (num_rows, width),
        "frame_embeddings": (num_frames, width),
        "seconds": (num_frames,),
    }
    return columns | ({"thumbnails": (num_frames, SLOT_BYTES)} if thumbnails else {})
