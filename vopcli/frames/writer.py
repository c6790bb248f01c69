"""Write a frame store: allocate space for the frames of many videos, then fill it video by video."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.files.hdf5 import Segment
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file
from vopcli.frames.layout import (
    JPEG_PIXEL_BYTES,
    check_shapes,
    frame_slots,
    missing_frames,
    row_fits,
    used_frames,
)
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, FRAME_ROW, Row, Status, latest, pack_row, pack_rows, unpack_rows
from vopcli.frames.store import frame_checksums

_SPARE_RATIO: Final = 1.1


@dataclass
class _Tail:
    """The unused end of a segment: its next free frame and byte."""

    segment: Segment
    next_frame: int
    next_byte: int

    def has_room(self, num_frames: int, num_bytes: int, recipe: Recipe) -> bool:
        """Whether so many frames, or bytes of JPEG files, fit."""
        if self.next_frame + num_frames > frame_slots(self.segment, recipe):
            return False
        return (
            recipe.codec == "raw"
            or self.next_byte + num_bytes <= self.segment.columns["frame_bytes"].shape[0]
        )


class FrameStoreWriter:
    """A frame store opened for writing and locked; a context manager.

    The frames of a video are on disk before its row is written, so a row is valid whenever the process dies.
    Space that an earlier run allocated and did not use is used first.
    """

    def __init__(self, path: Path) -> None:
        """Open an existing store.

        Raises:
            DataError: ``path`` is not a frame store, of another version, or damaged.
            BusyError: another process writes ``path``.
        """
        self._file = SegmentWriter(path, FRAME_FORMAT)
        try:
            contents = self._file.contents
            self.recipe = Recipe.from_attributes(path, contents.attributes)
            check_shapes(path, contents.segments, self.recipe)
            placed = [
                (segment, place, row)
                for segment in contents.segments
                for place, row in enumerate(unpack_rows(segment))
            ]
            rows = [row for _, _, row in placed]
            used = used_frames(rows, contents.segments, self.recipe)
        except BaseException:
            self._file.__exit__()
            raise
        good = [row and row_fits(row, contents.segments, self.recipe) for row in rows]
        self.known = latest(row for row, is_good in zip(rows, good, strict=True) if is_good)
        self._damaged = [
            (segment, place, int(Status.PENDING))
            for (segment, place, _), is_good in zip(placed, good, strict=True)
            if not is_good
        ]
        self._tails = [
            _Tail(segment, next_frame, int(segment.map("frame_ranges")[:next_frame].max(initial=0)))
            for segment, next_frame in zip(contents.segments, used, strict=True)
        ]
        self._packed: NDArray[Any] = np.zeros(0, FRAME_ROW)
        self._segment: Segment | None = None
        self._frames_left = 0
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, Row]] = []  # rows whose frames may not be on disk yet
        self._confirmations: deque[Future[None]] = deque()
        self._syncer = ThreadPoolExecutor(1, "vop store")
        self._jpeg_bytes, self._jpeg_frames = int(self.recipe.size**2 * JPEG_PIXEL_BYTES), 1

    def __enter__(self) -> FrameStoreWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.flush()
        finally:
            self._syncer.shutdown()
            self._file.__exit__(*exception)

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes."""
        return self._file.num_bytes

    @property
    def num_free(self) -> list[int]:
        """Number of free frame slots of each segment."""
        return [frame_slots(tail.segment, self.recipe) - tail.next_frame for tail in self._tails]

    def lay_out(self, rows: Sequence[Row], num_frames: Sequence[int]) -> None:
        """Add a segment with these rows, and with slots for the frames that do not fit into free slots.

        Args:
            rows: rows to add; those of videos to decode are pending.
            num_frames: for each row, the number of frames to come; 0 for rows without new frames.

        Raises:
            FileError: the disk is full; the file is unchanged.
        """
        filled = pack_rows(rows)
        missing = missing_frames(self.num_free, [count for count in num_frames if count])
        self._segment = self._add_segment(filled, missing)
        self._packed, self._frames_left = filled["rows"], sum(num_frames)

    def drop_damaged_rows(self) -> int:
        """Turn damaged rows into pending ones, which nothing refers to; return their number.

        Raises:
            FileError: the disk failed.
        """
        self._file.write_statuses(self._damaged)
        damaged, self._damaged = self._damaged, []
        return len(damaged)

    def _add_segment(self, filled: dict[str, NDArray[Any]], num_frames: int, num_bytes: int = 0) -> Segment:
        self.flush()  # no row may be written while the metadata change
        size, is_raw = self.recipe.size, self.recipe.codec == "raw"
        guess = int(num_frames * self._jpeg_bytes / self._jpeg_frames * _SPARE_RATIO)
        empty = {
            "seconds": (num_frames,),
            "checksums": (num_frames,),
            "frames": (num_frames if is_raw else 0, size, size, 3),
            "frame_bytes": (0 if is_raw else max(guess, num_bytes),),
            "frame_ranges": (0 if is_raw else num_frames, 2),
        }
        segment = self._file.add_segment({}, filled, empty)
        self._tails.append(_Tail(segment, 0, 0))
        return segment

    def put_frames(
        self,
        number: int,
        row: Row,
        frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        seconds: NDArray[np.float64],
    ) -> Row:
        """Write the frames of a video; its row is written in the background once they are on disk.

        Args:
            number: position of the row in the list passed to `lay_out`.
            row: the row; the position of its frames is filled in.
            frames: (F, S, S, 3) uint8 pixels; for JPEG files F arrays (bytes,) uint8.
            seconds: (F,) presentation times.

        Returns:
            The row as written.

        Raises:
            FileError: the disk is full or failed.
        """
        sizes = np.array([frame.size for frame in frames], np.int64)
        tail = self._find_room(len(frames), int(sizes.sum()))
        segment, first = tail.segment, tail.next_frame
        if isinstance(frames, np.ndarray):
            self._file.write(segment, "frames", first, frames)
        else:
            ends = tail.next_byte + np.cumsum(sizes)
            self._file.write(segment, "frame_bytes", tail.next_byte, np.concatenate(frames))
            self._file.write(segment, "frame_ranges", first, np.stack([ends - sizes, ends], axis=1))
            tail.next_byte = int(ends[-1])
            self._jpeg_bytes, self._jpeg_frames = (
                self._jpeg_bytes + int(sizes.sum()),
                self._jpeg_frames + len(frames),
            )
        self._file.write(segment, "seconds", first, seconds)
        self._file.write(segment, "checksums", first, frame_checksums(seconds, frames))
        tail.next_frame += len(frames)
        self._frames_left -= len(frames)
        row = replace(
            row,
            status=Status.DONE,
            num_frames=len(frames),
            frames_segment=segment.number,
            first_frame=first,
        )
        self.put_row(number, row)
        return row

    def put_row(self, number: int, row: Row) -> None:
        """Write the row of a video without new frames: one that failed, or a copy of another one.

        Raises:
            FileError: the disk is full or failed.
            ValueError: `lay_out` was not called.
        """
        if self._segment is None:
            raise ValueError("call lay_out first")
        with self._lock:
            self._waiting.append((number, row))
        self._confirmations.append(self._syncer.submit(self._confirm))
        while self._confirmations and self._confirmations[0].done():
            self._confirmations.popleft().result()

    def flush(self) -> None:
        """Wait until all frames are on disk and all rows are written.

        Raises:
            FileError: the disk is full or failed.
        """
        while self._confirmations:
            self._confirmations.popleft().result()

    def _confirm(self) -> None:
        """Sync, then write the rows that were waiting; runs on the syncing thread."""
        with self._lock:
            rows, self._waiting = self._waiting, []
        if not rows or self._segment is None:
            return
        self._file.sync()
        for number, row in rows:
            path, root = (tuple(self._packed[number][name].tolist()) for name in ("path", "root"))
            self._file.write(self._segment, "rows", number, pack_row(row, path, root))
        self._file.write_statuses([(self._segment, number, int(row.status)) for number, row in rows])

    def _find_room(self, num_frames: int, num_bytes: int) -> _Tail:
        for tail in self._tails:
            if tail.has_room(num_frames, num_bytes, self.recipe):
                return tail
        self._add_segment(pack_rows([]), max(self._frames_left, num_frames), num_bytes)
        return self._tails[-1]


def create_store(path: Path, recipe: Recipe) -> None:
    """Create an empty store.

    Raises:
        FileError: ``path`` exists, or its folder is not writable.
    """
    create_segment_file(path, FRAME_FORMAT, recipe.to_attributes())
