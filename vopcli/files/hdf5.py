"""HDF5 files made of segments, the base of frame store and index; independent of their contents.

Each run that adds data adds one segment: a group of contiguous datasets whose space is allocated, and whose
metadata are committed atomically (`vopcli.files.journal`), before the first value is written. Values are then
written to their offsets directly, past the HDF5 library, so the metadata do not change while a run is in
progress. A process killed at any moment leaves a file that opens; readers memory-map the datasets.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from vopcli.errors import BusyError, DataError, FileError
from vopcli.files.journal import (
    HEAD_BYTES,
    MAGIC,
    Overlay,
    is_unfinished,
    open_locked,
    recover,
    write_clean_record,
)

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS: Final = (0, *(512 << power for power in range(12)))  # those the format allows
_SEGMENTS: Final = "segments"
# Mapped arrays are aligned for vector loads.
_ALIGNED: Final = {"alignment_threshold": 1, "alignment_interval": 64}
_TENSORS: Final = "tensors"
_AGAIN: Final = "copy it again, or create it again"
_FLOAT32: Final = np.dtype("<f4")
# One JSON document: HDF5 attributes of many types would need more checks.
_ATTRIBUTES: Final = "attributes"


@dataclass(frozen=True)
class FileFormat:
    """Name, version and columns of a file format.

    Attributes:
        name: format name, such as ``vop-frames``.
        version: the version that is read and written.
        columns: name -> dtype of the datasets that each segment has.
    """

    name: str
    version: int
    columns: Mapping[str, np.dtype[Any]]


@dataclass(frozen=True)
class Column:
    """Position of a dataset: ``shape`` values of ``dtype`` from ``offset_bytes`` on, in C order."""

    offset_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def end_bytes(self) -> int:
        """Offset of the first byte after the dataset."""
        return self.offset_bytes + self.shape[0] * self.row_bytes


@dataclass(frozen=True)
class Segment:
    """One segment of an open file."""

    path: Path
    number: int
    attributes: dict[str, Any]
    columns: dict[str, Column]

    def map(self, name: str) -> NDArray[Any]:
        """Memory-map a dataset read-only; pages are read on access."""
        return _map(self.path, self.columns[name])


class SegmentFile:
    """Metadata of a segmented file: its attributes and segments, oldest first."""

    def __init__(self, path: Path, file_format: FileFormat, attributes: dict[str, Any]) -> None:
        self.path = path
        self.format = file_format
        self.attributes = attributes
        self.segments: list[Segment] = []
        self.tensors: dict[str, Column] = {}  # arrays of the whole file, float32

    def map_tensors(self) -> dict[str, NDArray[np.float32]]:
        """Memory-map the arrays that belong to the whole file."""
        return {name: _map(self.path, column) for name, column in self.tensors.items()}

    @classmethod
    def read(cls, path: Path, file_format: FileFormat) -> SegmentFile:
        """Read the metadata of ``path`` and close it; values are mapped later.

        Raises:
            DataError: ``path`` is missing, not HDF5, of another format or version, damaged or truncated.
            BusyError: another process writes ``path``.
        """
        with _open(path) as file:
            return _read(path, file, file_format)


class SegmentWriter:
    """A segmented file, open for adding segments and locked; a context manager."""

    def __init__(self, path: Path, file_format: FileFormat) -> None:
        """Open an existing file.

        Raises:
            DataError: as in `SegmentFile.read`.
            BusyError: another process reads or writes ``path``.
        """
        self._descriptor = open_locked(path)
        try:
            self.contents = _read_locked(path, self._descriptor, file_format)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

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
            with h5py.File(overlay, "r+", **_ALIGNED) as file:
                group = file.create_group(f"{_SEGMENTS}/{number:06d}")
                group.attrs[_ATTRIBUTES] = json.dumps(attributes)
                for column, values in filled.items():
                    _create_dataset(group, column, values.shape, file_format.columns[column])[...] = values
                for column, shape in empty.items():
                    _create_dataset(group, column, shape, file_format.columns[column])
                file.flush()
                overlay.check()
                segment = _read_segment(path, number, group, file_format)
            _allocate(self._descriptor, segment)
            overlay.commit()
        except OSError as error:
            with contextlib.suppress(OSError):
                overlay.revert()
            raise FileError(path, overlay.error or error) from error
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

    def sync(self) -> None:
        """Wait until all data written so far are on the disk.

        Raises:
            FileError: the disk is full or failed.
        """
        try:
            getattr(os, "fdatasync", os.fsync)(self._descriptor)
        except OSError as error:
            raise FileError(self.contents.path, error) from error


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
    from vopcli.files.atomic import atomic_path  # not needed to read

    with atomic_path(path, is_new=True) as temporary:
        with h5py.File(temporary, "w", userblock_size=HEAD_BYTES, **_ALIGNED) as file:
            file.attrs["format"] = file_format.name
            file.attrs["version"] = file_format.version
            file.attrs[_ATTRIBUTES] = json.dumps(attributes)
            file.create_group(_SEGMENTS)
            group = file.create_group(_TENSORS)
            for name, tensor in (tensors or {}).items():
                _create_dataset(group, name, tensor.shape, _FLOAT32)[...] = tensor
        with temporary.open("rb+") as plain:
            write_clean_record(plain.fileno())


def is_hdf5(path: Path) -> bool:
    """Whether a file begins like an HDF5 file, truncated ones included; False for a folder.

    Raises:
        FileError: the file cannot be read.
    """
    if path.is_dir():
        return False
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                return True
            for offset in _SIGNATURE_OFFSETS:
                file.seek(offset)
                if file.read(len(_SIGNATURE)) == _SIGNATURE:
                    return True
    except OSError as error:
        raise FileError(path, error) from error
    return False


def read_format_name(path: Path) -> str:
    """Return the format name of an HDF5 file, "" for a file of another program.

    Raises:
        DataError: ``path`` is missing, not HDF5, or damaged.
        BusyError: another process writes ``path``.
    """
    with _open(path) as file:
        return str(file.attrs.get("format", ""))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with path.open("rb") as plain:  # clearer errors than h5py's for a missing file or a folder
            if is_unfinished(plain.fileno()):
                os.close(open_locked(path))
        file = h5py.File(path, "r")
    except BlockingIOError as error:
        raise BusyError(f"{path} is in use by another process", hint="wait until it has finished") from error
    except OSError as error:
        raise _open_error(path, error) from error
    try:
        yield file
    finally:
        file.close()


def _read_locked(path: Path, descriptor: int, file_format: FileFormat) -> SegmentFile:
    try:
        with h5py.File(Overlay(descriptor), "r") as file:
            return _read(path, file, file_format)
    except OSError as error:
        raise _open_error(path, error) from error


def _open_error(path: Path, error: OSError) -> DataError:
    text = str(error)
    if "signature not found" in text or "bad object" in text:
        return DataError(f"{path} is not an HDF5 file", hint="is it the right file, and complete?")
    if "truncated" in text or "eof" in text.lower():
        return DataError(f"{path} is truncated", hint=_AGAIN)
    if error.errno:
        return FileError(path, error)
    return DataError(f"{path} cannot be read as HDF5: it is damaged", hint=_AGAIN)


def _read(path: Path, file: h5py.File, file_format: FileFormat) -> SegmentFile:
    try:
        found, version = str(file.attrs.get("format", "")), file.attrs.get("version")
        if found != file_format.name:
            kind = f"a {found} file" if found else "an HDF5 file of another program"
            raise DataError(
                f"{path} is {kind}, not a {file_format.name} file", hint="check the order of the file names"
            )
        if not isinstance(version, (int, np.integer)) or int(version) != file_format.version:
            raise DataError(
                f"{path} has {file_format.name} version {version}; this program reads {file_format.version}",
                hint="update vop, or create the file again",
            )
        content = SegmentFile(path, file_format, _read_attributes(file))
        size, groups, tensors = path.stat().st_size, file[_SEGMENTS], file[_TENSORS]
        content.segments += (
            _read_segment(path, i, groups[f"{i:06d}"], file_format) for i in range(len(groups))
        )
        content.tensors |= {name: _read_column(tensors[name], _FLOAT32, size) for name in tensors}
        return content
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=_AGAIN) from error


def _read_attributes(holder: h5py.File | h5py.Group) -> dict[str, Any]:
    attributes = json.loads(holder.attrs[_ATTRIBUTES])
    if not isinstance(attributes, dict):
        raise TypeError("its attributes are not a JSON object")
    return attributes


def _read_segment(path: Path, number: int, group: h5py.Group, file_format: FileFormat) -> Segment:
    size = path.stat().st_size
    columns = {name: _read_column(group[name], dtype, size) for name, dtype in file_format.columns.items()}
    return Segment(path, number, _read_attributes(group), columns)


def _read_column(dataset: h5py.Dataset, dtype: np.dtype[Any], size: int) -> Column:
    # External and virtual datasets could refer to any other file.
    if dataset.dtype != dtype or dataset.chunks is not None or dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} is not stored in the layout of this format")
    column = Column(dataset.id.get_offset() or 0, dataset.shape, dataset.dtype)
    if column.shape[0] * column.row_bytes and not 0 < column.offset_bytes <= column.end_bytes <= size:
        raise ValueError(f"the file is truncated within {dataset.name}")
    return column


def _map(path: Path, column: Column) -> NDArray[Any]:
    if 0 in column.shape:
        return np.empty(column.shape, column.dtype)
    return np.memmap(path, column.dtype, "r", column.offset_bytes, column.shape).view(np.ndarray)


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
