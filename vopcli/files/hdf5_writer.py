"""Write HDF5 files made of segments: create a file, add segments, write values and statuses."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from vopcli.errors import FileError
from vopcli.files.arrays import checksum
from vopcli.files.atomic import atomic_path
from vopcli.files.hdf5 import (
    ATTRIBUTES,
    CHECKSUMS,
    FLOAT32,
    SEGMENTS,
    TENSORS,
    FileFormat,
    Segment,
    SegmentFile,
    open_error,
    read_segment,
)
from vopcli.files.journal import (
    HEAD_BYTES,
    Overlay,
    commit_changes,
    open_locked,
    recover,
    write_clean_record,
)

# Mapped arrays are aligned for vector loads; HDF5 1.10 is the first version with checksums of its metadata.
_OPTIONS: Final[dict[str, Any]] = {
    "alignment_threshold": 1,
    "alignment_interval": 64,
    "libver": ("v110", "v110"),
}
_CHANGE_BYTES: Final = 16  # in the journal, beside the new bytes
_JOURNAL_BYTES: Final = 60_000  # that the journal holds


class SegmentWriter:
    """A segmented file, open for adding segments and locked; a context manager."""

    def __init__(self, path: Path, file_format: FileFormat) -> None:
        """Open an existing file.

        Raises:
            DataError: as in `SegmentFile.read`.
            BusyError: another process writes ``path``.
        """
        self._descriptor = open_locked(path)
        try:
            self.contents = self._read(path, file_format)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def _read(self, path: Path, file_format: FileFormat) -> SegmentFile:
        try:
            # Memory maps keep their descriptor open: that of the lock would keep the file locked.
            with path.open("rb") as plain, h5py.File(Overlay(plain.fileno()), "r") as file:
                contents = SegmentFile(path, file_format, file, plain.fileno())
                contents.read_statuses(plain.fileno())
                return contents
        except OSError as error:
            raise open_error(path, error) from error

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes."""
        return os.fstat(self._descriptor).st_size

    def add_segment(
        self,
        attributes: dict[str, Any],
        filled: Mapping[str, NDArray[Any]],
        empty: Mapping[str, tuple[int, ...]],
    ) -> Segment:
        """Add a segment; its space is allocated on disk when this returns.

        Args:
            attributes: JSON values of the segment.
            filled: datasets with their values.
            empty: datasets to be written later, with their shapes.

        Raises:
            FileError: the disk is full; the file is unchanged.
        """
        file_format, path = self.contents.format, self.contents.path
        number = len(self.contents.segments)
        recover(self._descriptor)  # truncate data that a failed call may have appended
        overlay = Overlay(self._descriptor)
        try:
            with h5py.File(overlay, "r+", **_OPTIONS) as file:
                group = file.create_group(f"{SEGMENTS}/{number:06d}")
                group.attrs[ATTRIBUTES] = np.bytes_(json.dumps(attributes))
                dtypes = {**file_format.columns, **file_format.optional}
                for column, values in filled.items():
                    _create_dataset(group, column, values.shape, dtypes[column])[...] = values
                for column, shape in empty.items():
                    _create_dataset(group, column, shape, dtypes[column])
                file.flush()
                overlay.check()
                with path.open("rb") as plain:
                    data = mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ)
                segment = read_segment(path, number, group, file_format, data)
            _allocate(self._descriptor, segment)
            overlay.commit()
        except OSError as error:
            with contextlib.suppress(OSError):
                overlay.revert()
            raise FileError(path, overlay.error or error) from error
        segment.status[:] = filled.get("status", 0)
        self.contents.segments.append(segment)
        return segment

    def write(self, segment: Segment, column: str, row: int, values: NDArray[Any]) -> None:
        """Write ``values`` (rows, ...) from row ``row`` on, past the HDF5 library.

        Raises:
            FileError: the disk is full or failed.
            ValueError: ``values`` do not fit the column.
        """
        place = segment.columns[column]
        if (
            values.dtype != place.dtype
            or values.shape[1:] != place.shape[1:]
            or row + len(values) > place.shape[0]
        ):
            raise ValueError(
                f"{values.shape} {values.dtype} does not fit {column} {place.shape} at row {row}"
            )
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        offset = place.offset_bytes + row * place.row_bytes
        try:
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise FileError(self.contents.path, error) from error

    def write_statuses(self, statuses: Sequence[tuple[Segment, int, int]]) -> None:
        """Write the ``status`` of rows, given as segment, row and status, in one atomic step.

        All earlier writes are on the disk before. Rows that follow each other are one change; only if there
        are more than about 3,500 changes, they are made in several steps, in the given order.

        Raises:
            FileError: the disk is full or failed.
        """
        for step in _steps(statuses):
            try:
                commit_changes(
                    self._descriptor,
                    [
                        (segment.columns["status"].offset_bytes + row, bytes(values))
                        for segment, row, values in step
                    ],
                )
            except OSError as error:
                raise FileError(self.contents.path, error) from error
            for segment, row, values in step:
                segment.status[row : row + len(values)] = values

    def sync(self) -> None:
        """Wait until all data written so far are on the disk.

        Raises:
            FileError: the disk is full or failed.
        """
        try:
            getattr(os, "fdatasync", os.fsync)(self._descriptor)
        except OSError as error:
            raise FileError(self.contents.path, error) from error


def _steps(statuses: Sequence[tuple[Segment, int, int]]) -> Iterator[list[tuple[Segment, int, list[int]]]]:
    """Join the statuses of rows that follow each other, and yield as many changes as the journal holds.

    Example: the statuses of rows 4, 5, 6 and 9 of a segment are changes at row 4, of three bytes, and at 9.
    """
    step: list[tuple[Segment, int, list[int]]] = []
    left = _JOURNAL_BYTES
    for segment, row, status in statuses:
        follows = bool(step) and step[-1][0] is segment and step[-1][1] + len(step[-1][2]) == row
        needed = 1 if follows else 1 + _CHANGE_BYTES
        if needed > left:
            yield step
            step, left, follows, needed = [], _JOURNAL_BYTES, False, 1 + _CHANGE_BYTES
        if follows:
            step[-1][2].append(status)
        else:
            step.append((segment, row, [status]))
        left -= needed
    if step:
        yield step


def create_segment_file(
    path: Path,
    file_format: FileFormat,
    attributes: dict[str, Any],
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Create a file without segments atomically; ``tensors`` belong to the whole file.

    Raises:
        FileError: ``path`` exists, or its folder is not writable.
    """
    with atomic_path(path, is_new=True) as temporary:
        with h5py.File(temporary, "w", userblock_size=HEAD_BYTES, **_OPTIONS) as file:
            checksums = {name: checksum(np.asarray(item, FLOAT32)) for name, item in (tensors or {}).items()}
            file.attrs["format"] = np.bytes_(file_format.name)
            file.attrs["version"] = file_format.version
            file.attrs[ATTRIBUTES] = np.bytes_(json.dumps(attributes))
            file.attrs[CHECKSUMS] = np.bytes_(json.dumps(checksums))
            file.create_group(SEGMENTS)
            group = file.create_group(TENSORS)
            for name, tensor in (tensors or {}).items():
                _create_dataset(group, name, tensor.shape, FLOAT32)[...] = tensor
        with temporary.open("rb+") as plain:
            write_clean_record(plain.fileno())


def _create_dataset(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> h5py.Dataset:
    return group.create_dataset(name, shape=shape, dtype=dtype, dcpl=_layout_properties(), track_times=False)


def _layout_properties() -> h5py.h5p.PropDCID:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


def _allocate(descriptor: int, segment: Segment) -> None:
    end = max(column.end_bytes for column in segment.columns.values())
    start = min(column.offset_bytes for column in segment.columns.values() if column.shape[0])
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, end - start)
    elif os.fstat(descriptor).st_size < end:
        os.ftruncate(descriptor, end)
