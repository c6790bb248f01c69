"""Read HDF5 files made of segments, the base of frame store and index; independent of their contents.

Each run that adds data adds one segment: a group of contiguous datasets whose space is allocated, and whose
metadata are committed atomically (`vopcli.files.journal`), before the first value is written. Values are then
written to their offsets directly, past the HDF5 library, so the metadata do not change while a run is in
progress. A process killed at any moment leaves a file that opens; readers take no lock, see the last complete
state, and memory-map the datasets.

The metadata have the checksums of HDF5 1.10. JSON documents are fixed-length strings: variable-length ones
would lie in HDF5's global heap, which has no checksum.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from vopcli.errors import BusyError, DataError, FileError
from vopcli.files.arrays import checksum
from vopcli.files.journal import MAGIC, Overlay, read_state
from vopcli.files.s3 import is_remote

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS: Final = (0, *(512 << power for power in range(12)))  # those the format allows
SEGMENTS: Final = "segments"
TENSORS: Final = "tensors"
ATTRIBUTES: Final = "attributes"  # one JSON document: HDF5 attributes of many types would need more checks
CHECKSUMS: Final = "checksums"  # JSON: the name of each tensor -> its checksum
FLOAT32: Final = np.dtype("<f4")
_STATUS: Final = "status"
_AGAIN: Final = "copy it again, or create it again"
_ATTEMPTS: Final = 100  # to read a file while another process changes it
# of h5py, JSON and NumPy, for damaged metadata
_PARSE_ERRORS: Final = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    OSError,
    RecursionError,
    OverflowError,
    MemoryError,
)
_Parsed = TypeVar("_Parsed")
_KINDS: Final = {"vop-frames": "a frame store", "vop-index": "an index", "vop-similarities": "saved scores"}


@dataclass(frozen=True)
class FileFormat:
    """Name, version and columns of a file format.

    Attributes:
        name: format name, such as ``vop-frames``.
        version: the version that is read and written.
        columns: name -> dtype of the datasets that each segment has. A column ``status`` of bytes says which
            rows count; it changes in atomic steps.
        command: the command that creates a file again.
        optional: further columns, which a segment may lack.
    """

    name: str
    version: int
    columns: Mapping[str, np.dtype[Any]]
    command: str
    optional: Mapping[str, np.dtype[Any]] = field(default_factory=dict)

    @property
    def hint(self) -> str:
        """Hint of an error about a damaged file."""
        return f"{_AGAIN} with `{self.command}`"


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
    """One segment of an open file.

    Attributes:
        path: the file.
        number: position among the segments, from 0.
        attributes: JSON values.
        columns: position of each dataset.
        status: (N,) uint8, a copy of the column ``status`` of one state of the file; empty without one.
        data: memory map of the file.
    """

    path: Path
    number: int
    attributes: dict[str, Any]
    columns: dict[str, Column]
    status: NDArray[np.uint8]
    data: mmap.mmap = field(repr=False, compare=False)

    def map(self, name: str) -> NDArray[Any]:
        """Memory-map a dataset read-only; pages are read on access."""
        return _array(self.data, self.columns[name])

    def release(self) -> None:
        """Release the memory of pages that were read; they are read again on access."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.data.madvise(mmap.MADV_DONTNEED)


class SegmentFile:
    """Metadata of a segmented file: its attributes and segments, oldest first.

    Attributes:
        path: the file.
        format: its format.
        attributes: JSON values.
        segments: the segments.
        stat: size and times of the file before it was read.
    """

    def __init__(self, path: Path, file_format: FileFormat, file: h5py.File, descriptor: int) -> None:
        """Read the metadata of a file that is open; values are mapped later.

        Raises:
            DataError: the file is of another format or version, damaged or truncated.
            OSError: the file cannot be mapped.
        """
        self.path, self.format, self.stat = path, file_format, os.fstat(descriptor)
        _check_format(path, file, file_format)
        self.data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        try:
            self.attributes = _read_json(file, ATTRIBUTES)
            self._checksums = _read_json(file, CHECKSUMS)
            groups, tensors = _child(file, SEGMENTS), _child(file, TENSORS)
            self.segments = [
                read_segment(path, i, _child(groups, f"{i:06d}"), file_format, self.data)
                for i in range(len(groups))
            ]
            size = len(self.data)
            self._tensors = {name: _read_column(_child(tensors, name), FLOAT32, size) for name in tensors}
        except _PARSE_ERRORS as error:
            raise DataError(f"{path} is damaged: {error}", hint=file_format.hint) from error

    def map_tensors(self) -> dict[str, NDArray[np.float32]]:
        """Memory-map the arrays that belong to the whole file, after comparing them with their checksums.

        Raises:
            DataError: an array is missing or damaged.
        """
        arrays = {name: _array(self.data, column) for name, column in self._tensors.items()}
        if damaged := {
            name
            for name in arrays.keys() | self._checksums.keys()
            if name not in arrays or checksum(arrays[name]) != self._checksums.get(name)
        }:
            raise DataError(
                f"{self.path} is damaged: {min(damaged)} does not match its checksum", hint=self.format.hint
            )
        return arrays

    @classmethod
    def read(cls, path: Path, file_format: FileFormat) -> SegmentFile:
        """Read the last complete state of ``path`` and close it; values are mapped later.

        Raises:
            DataError: ``path`` is missing, not HDF5, of another format or version, damaged or truncated.
            BusyError: another process keeps changing ``path``.
        """

        def parse(file: h5py.File, descriptor: int) -> SegmentFile | None:
            contents = cls(path, file_format, file, descriptor)
            return contents if contents.read_statuses(descriptor) else None

        return _read_file(path, parse)

    def read_statuses(self, descriptor: int) -> bool:
        """Read the statuses of one state of the file; return False if it changed in every attempt."""
        for _ in range(_ATTEMPTS):
            state = read_state(descriptor)
            view = Overlay(descriptor, state.changes)
            for segment in self.segments:
                if len(segment.status):
                    view.seek(segment.columns[_STATUS].offset_bytes)
                    view.readinto(segment.status.data)
            if read_state(descriptor).generation == state.generation:
                return True
        return False


def is_hdf5(path: Path) -> bool:
    """Whether a file begins like an HDF5 file, truncated ones included; False for a folder and on S3.

    Raises:
        FileError: the file cannot be read.
    """
    if is_remote(path) or path.is_dir():
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
        BusyError: another process keeps changing ``path``.
    """
    return _read_file(path, lambda file, _: _format_name(file))


def may_replace(path: Path, file_format: FileFormat) -> bool:
    """Whether a file has a format, in any version, or is empty or truncated, so that it may have had it.

    Raises:
        BusyError: another process keeps changing ``path``.
        FileError: ``path`` cannot be read.
    """
    try:
        return read_format_name(path) == file_format.name
    except (BusyError, FileError):
        raise
    except DataError:
        return is_hdf5(path) or path.stat().st_size == 0


def _read_file(path: Path, parse: Callable[[h5py.File, int], _Parsed | None]) -> _Parsed:
    # `parse` takes the file and its descriptor. It is called again if it returns None, or if another process
    # has changed the metadata meanwhile, which makes the file longer; new statuses do not.
    try:
        with path.open("rb") as plain:
            descriptor = plain.fileno()
            for _ in range(_ATTEMPTS):
                state = read_state(descriptor)
                try:
                    with h5py.File(Overlay(descriptor, state.changes), "r") as file:
                        found = parse(file, descriptor)
                except (DataError, OSError):
                    if read_state(descriptor).end == state.end:
                        raise
                    continue
                if found is not None and read_state(descriptor).end == state.end:
                    return found
    except OSError as error:
        raise open_error(path, error) from error
    raise BusyError(f"{path} is in use by another process", hint="wait until it has finished")


def open_error(path: Path, error: OSError) -> DataError:
    """Return the error to raise for an HDF5 file that cannot be opened."""
    text = str(error)
    if "signature not found" in text or "bad object" in text:
        return DataError(f"{path} is not an HDF5 file", hint="is it the right file, and complete?")
    if "truncated" in text or "eof" in text.lower():
        return DataError(f"{path} is truncated", hint=_AGAIN)
    if error.errno:
        return FileError(path, error)
    return DataError(f"{path} cannot be read as HDF5: it is damaged", hint=_AGAIN)


def _format_name(file: h5py.File) -> str:
    name = file.attrs.get("format", "")
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _check_format(path: Path, file: h5py.File, file_format: FileFormat) -> None:
    try:
        found, version = _format_name(file), file.attrs.get("version")
    except _PARSE_ERRORS as error:
        raise DataError(f"{path} is damaged: {error}", hint=file_format.hint) from error
    if found != file_format.name:
        other = f"a {found} file" if found else "an HDF5 file of another program"
        kind = _KINDS.get(file_format.name, f"a {file_format.name} file")
        command = file_format.command.removesuffix(" --overwrite")
        hint = f"check the order of the file names; make {kind} with `{command}`"
        raise DataError(f"{path} is {_KINDS.get(found, other)}, not {kind}", hint=hint)
    if not isinstance(version, (int, np.integer)) or int(version) != file_format.version:
        raise DataError(
            f"{path} has {file_format.name} version {version}; this program reads {file_format.version}",
            hint=f"update vop, or create the file again with `{file_format.command}`",
        )


def _read_json(holder: h5py.File | h5py.Group, name: str) -> dict[str, Any]:
    text = holder.attrs[name]
    if not isinstance(text, bytes):
        raise TypeError(f"its {name} are not of fixed length")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError(f"its {name} are not a JSON object")
    return document


def _child(group: h5py.Group, name: str) -> Any:
    """Return a group or dataset that is stored in the file itself.

    Raises:
        KeyError: there is none of this name.
        ValueError: it is a link, which could refer to any other file.
    """
    kinds = {h5py.SoftLink: "a soft link", h5py.ExternalLink: "an external link"}
    if kind := kinds.get(type(group.get(name, getlink=True))):
        raise ValueError(f"{group.name.rstrip('/')}/{name} is {kind}")
    return group[name]


def read_segment(
    path: Path, number: int, group: h5py.Group, file_format: FileFormat, data: mmap.mmap
) -> Segment:
    """Read the metadata of a segment; its statuses are not read yet.

    Raises:
        Exception: the segment is damaged; the type depends on the damage.
    """
    columns = {
        name: _read_column(_child(group, name), dtype, len(data))
        for name, dtype in {**file_format.columns, **file_format.optional}.items()
        if name in file_format.columns or name in group
    }
    num_rows = columns[_STATUS].shape[0] if _STATUS in columns else 0
    return Segment(path, number, _read_json(group, ATTRIBUTES), columns, np.zeros(num_rows, np.uint8), data)


def _read_column(dataset: h5py.Dataset, dtype: np.dtype[Any], size: int) -> Column:
    # External and virtual datasets could refer to any other file.
    refused = {
        "is a virtual dataset": dataset.is_virtual,
        "has external storage": bool(dataset.external),
        "is a single value": not dataset.shape,
        "is not stored in the layout of this format": dataset.dtype != dtype or dataset.chunks is not None,
    }
    for reason in (reason for reason, applies in refused.items() if applies):
        raise ValueError(f"{dataset.name} {reason}")
    column = Column(dataset.id.get_offset() or 0, dataset.shape, dataset.dtype)
    if column.shape[0] * column.row_bytes and not 0 < column.offset_bytes <= column.end_bytes <= size:
        raise ValueError(f"the file is truncated within {dataset.name}")
    return column


def _array(data: mmap.mmap, column: Column) -> NDArray[Any]:
    if 0 in column.shape:
        return np.empty(column.shape, column.dtype)
    return np.ndarray(column.shape, column.dtype, data, column.offset_bytes)
