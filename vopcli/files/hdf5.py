"""HDF5 files made of segments: the common base of frame store and index, with no knowledge of what they hold.

Each run that adds something adds one segment: a group of datasets that is laid out whole (contiguous, space
taken) and flushed before the first value is written. From then on values go straight to their place in the
file, past the HDF5 library, so its bookkeeping never changes while work is under way; and the layout itself
takes effect all at once (`vopcli.files.journal`). So a process killed at any moment leaves a file that opens,
and a reader maps the datasets into memory.
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
from vopcli.files.journal import HEAD_BYTES, MAGIC, Overlay, is_unfinished, open_locked, recover, settle

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS: Final = (0, *(512 << power for power in range(12)))  # those the format allows
_SEGMENTS: Final = "segments"
# so that mapped arrays suit vector loads
_ALIGNED: Final = {"alignment_threshold": 1, "alignment_interval": 64}
_TENSORS: Final = "tensors"
_AGAIN: Final = "copy it again, or make it anew"
_FLOAT32: Final = np.dtype("<f4")
# one JSON document: HDF5 attributes of many types are more to check than to use
_ATTRIBUTES: Final = "attributes"


@dataclass(frozen=True)
class FileFormat:
    """What a file must say of itself to be opened.

    Attributes:
        name: format name, such as ``vop-frames``.
        version: the one version that is read and written.
        columns: name -> dtype of the datasets a segment must have.
    """

    name: str
    version: int
    columns: Mapping[str, np.dtype[Any]]


@dataclass(frozen=True)
class Column:
    """Where a dataset lies: ``shape`` values of ``dtype`` from ``offset_bytes`` on, row after row."""

    offset_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def end_bytes(self) -> int:
        """First byte after the dataset."""
        return self.offset_bytes + self.shape[0] * self.row_bytes


@dataclass(frozen=True)
class Segment:
    """One segment of an open file."""

    path: Path
    number: int
    attributes: dict[str, Any]
    columns: dict[str, Column]

    def map(self, name: str) -> NDArray[Any]:
        """Map a dataset read-only into memory; nothing is read until it is touched."""
        return _map(self.path, self.columns[name])


class SegmentFile:
    """A segmented file as a reader sees it: what it says of itself, and its segments, oldest first."""

    def __init__(self, path: Path, file_format: FileFormat, attributes: dict[str, Any]) -> None:
        self.path = path
        self.format = file_format
        self.attributes = attributes
        self.segments: list[Segment] = []
        self.tensors: dict[str, Column] = {}  # arrays of the whole file, float32

    def map_tensors(self) -> dict[str, NDArray[np.float32]]:
        """Map the arrays that belong to the whole file."""
        return {name: _map(self.path, column) for name, column in self.tensors.items()}

    @classmethod
    def read(cls, path: Path, file_format: FileFormat) -> SegmentFile:
        """Read the bookkeeping of ``path``; the HDF5 file is closed again, values are mapped later.

        Raises:
            DataError: missing, not HDF5, another format or version, damaged or truncated.
            BusyError: being written by another process.
        """
        with _opened(path) as file:
            return _read(path, file, file_format)


class SegmentWriter:
    """A segmented file held open, and locked, by its one writer; a context manager."""

    def __init__(self, path: Path, file_format: FileFormat) -> None:
        """Open an existing file for adding.

        Raises:
            DataError: as :meth:`SegmentFile.read`.
            BusyError: another process reads or writes it.
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
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def add_segment(
        self,
        attributes: dict[str, Any],
        filled: Mapping[str, NDArray[Any]],
        empty: Mapping[str, tuple[int, ...]],
    ) -> Segment:
        """Lay out a new segment and flush it; its space is taken on disk before this returns.

        Args:
            attributes: JSON values that belong to the segment.
            filled: datasets whose values are known now.
            empty: datasets to be written later, with their shapes.

        Raises:
            FileError: no room on the disk; the file is as it was.
        """
        file_format, path = self.contents.format, self.contents.path
        number = len(self.contents.segments)
        recover(self._descriptor)  # cut off what an addition that failed may have left
        overlay = Overlay(self._descriptor)
        try:
            with h5py.File(overlay, "r+", **_ALIGNED) as file:
                group = file.create_group(f"{_SEGMENTS}/{number:06d}")
                group.attrs[_ATTRIBUTES] = json.dumps(attributes)
                for column, values in filled.items():
                    _lay_out(group, column, values.shape, file_format.columns[column])[...] = values
                for column, shape in empty.items():
                    _lay_out(group, column, shape, file_format.columns[column])
                file.flush()
                overlay.check()
                segment = _read_segment(path, number, group, file_format)
            _take_space(self._descriptor, segment)
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
            ValueError: the values do not fit the column.
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
        """Wait until everything written so far is on the disk.

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
    """Make a new file without segments, with ``tensors`` for good; it appears whole or not at all.

    Raises:
        FileError: the file exists, or its folder cannot be written.
    """
    from vopcli.files.atomic import written_aside  # not needed to read

    with written_aside(path, is_new=True) as aside:
        with h5py.File(aside, "w", userblock_size=HEAD_BYTES, **_ALIGNED) as file:
            file.attrs["format"] = file_format.name
            file.attrs["version"] = file_format.version
            file.attrs[_ATTRIBUTES] = json.dumps(attributes)
            file.create_group(_SEGMENTS)
            group = file.create_group(_TENSORS)
            for name, tensor in (tensors or {}).items():
                _lay_out(group, name, tensor.shape, _FLOAT32)[...] = tensor
        with aside.open("rb+") as plain:
            settle(plain.fileno())


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
    """Return the format name an HDF5 file gives itself, "" when it gives none.

    Raises:
        DataError: missing, not HDF5, or damaged.
        BusyError: being written by another process.
    """
    with _opened(path) as file:
        return str(file.attrs.get("format", ""))


def pack_strings(strings: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pack file names of any bytes into one flat array.

    Returns:
        (bytes,) uint8, and (N, 2) int64 with the half-open byte range of each string.
    """
    encoded = [os.fsencode(string) for string in strings]
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(encoded) else ends
    return np.frombuffer(b"".join(encoded), np.uint8), np.stack([starts, ends], axis=1)


def unpack_string(packed: NDArray[np.uint8], start: int, end: int) -> str:
    """Return one string of :func:`pack_strings`.

    Raises:
        ValueError: the range does not lie within the bytes.
    """
    if not 0 <= start <= end <= len(packed):
        raise ValueError(f"string range {start}:{end} lies outside {len(packed)} bytes")
    return os.fsdecode(packed[start:end].tobytes())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with path.open("rb") as plain:  # says plainly what h5py would wrap: missing, a folder, no permission
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
        return DataError(f"{path} is not an HDF5 file", hint="is it the right file, and was it copied whole?")
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
                hint="update vop, or make the file anew",
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
    # only plain data in this very file: an external or virtual dataset could name any other file
    if dataset.dtype != dtype or dataset.chunks is not None or dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} is stored in another way than this format does")
    column = Column(dataset.id.get_offset() or 0, dataset.shape, dataset.dtype)
    if column.shape[0] * column.row_bytes and not 0 < column.offset_bytes <= column.end_bytes <= size:
        raise ValueError(f"the file is truncated within {dataset.name}")
    return column


def _map(path: Path, column: Column) -> NDArray[Any]:
    if 0 in column.shape:
        return np.empty(column.shape, column.dtype)
    return np.memmap(path, column.dtype, "r", column.offset_bytes, column.shape).view(np.ndarray)


def _lay_out(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    return group.create_dataset(name, shape=shape, dtype=dtype, dcpl=_layout_properties(), track_times=False)


def _layout_properties() -> h5py.h5p.PropDCID:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


def _take_space(descriptor: int, segment: Segment) -> None:
    end = max(column.end_bytes for column in segment.columns.values())
    start = min(column.offset_bytes for column in segment.columns.values() if column.shape[0])
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, end - start)
    elif os.fstat(descriptor).st_size < end:
        os.ftruncate(descriptor, end)
