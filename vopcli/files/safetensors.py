"""Read and write safetensors with NumPy alone: nothing is loaded before its use or copied to be written.

The format: the header's length as little-endian uint64, the header as JSON (name -> dtype, shape, byte
range), the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import WeightsError
from vopcli.files.atomic import written_aside

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
CHUNK_BYTES = 1 << 24
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no such type: widened to float32 where it is read
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
TAGS = {np.dtype(code): tag for tag, code in DTYPES.items() if tag != "BF16"}


@dataclass(frozen=True)
class SafetensorsFile:
    """What a safetensors file holds: arrays mapped into memory, private to this process, and bf16 as fp32."""

    tensors: dict[str, NDArray[Any]]
    metadata: dict[str, str]


def read_safetensors(path: Path) -> SafetensorsFile:
    """Map every tensor of ``path`` into memory.

    Raises:
        WeightsError: the file is damaged, or holds a type of number that is not known.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    header, start = _read_header(path, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _fail(path, "its metadata is not a list of texts")
    entries = {name: _Entry.parse(path, name, entry) for name, entry in header.items()}
    _check_ranges(path, entries, size - start)
    data = (
        np.asarray(np.memmap(path, np.uint8, mode="c", offset=start))
        if size > start
        else np.empty(0, np.uint8)
    )
    return SafetensorsFile({name: entry.view(data) for name, entry in entries.items()}, metadata)


def write_safetensors_file(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write ``tensors`` beside ``path`` and rename: a reader sees the old file or the whole new one.

    Raises:
        WeightsError: a tensor has a type of number that the format does not know.
        FileError: the file cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    names = sorted(
        tensors, key=lambda name: (-tensors[name].itemsize, name)
    )  # large items first keeps all aligned
    for name in names:
        array = tensors[name]
        tag = TAGS.get(array.dtype.newbyteorder("<"))
        if tag is None:
            raise WeightsError(f"{name} holds {array.dtype}, which a safetensors file cannot")
        header[name] = {"dtype": tag, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    with written_aside(path) as aside, aside.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            _write_array(file, tensors[name])


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @classmethod
    def parse(cls, path: Path, name: str, entry: object) -> _Entry:
        if (
            not isinstance(entry, dict)
            or not _are_sizes(entry.get("shape"))
            or not _are_sizes(entry.get("data_offsets"))
        ):
            _fail(path, f"the entry of {name[:120]} makes no sense")
        dtype, shape, offsets = entry.get("dtype"), tuple(entry["shape"]), entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise WeightsError(
                f"{path}: {name[:120]} holds numbers of type {str(dtype)[:20]}, which vop does not read",
                hint="quantised models are not supported: use an fp32, fp16 or bf16 file",
            )
        if len(shape) > 32 or len(offsets) != 2 or offsets[1] - offsets[0] != _num_bytes(dtype, shape):
            _fail(path, f"the byte range of {name[:120]} does not fit its shape")
        return cls(dtype, shape, offsets[0], offsets[1])

    def view(self, data: NDArray[np.uint8]) -> NDArray[Any]:
        array = data[self.begin : self.end].view(DTYPES[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            return widen_bfloat16(array)
        return array if array.flags.aligned else array.copy()


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values of bf16 numbers given by their 16 bits: the upper half of the float32's."""
    wide = bits.astype("<u4")
    wide <<= 16
    return wide.view("<f4")


def _read_header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            _fail(path, "it is shorter than its header says")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        _fail(path, "its header is not readable JSON", error)
    if not isinstance(header, dict):
        _fail(path, "its header is not a list of tensors")
    return header, 8 + length


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _check_ranges(path: Path, entries: Mapping[str, _Entry], size: int) -> None:
    """Refuse what the format forbids: holes, overlaps, and data that the file does not have."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            _fail(path, f"the byte range of {name[:120]} leaves a hole or overlaps another")
        end = entry.end
    if end != size:
        _fail(path, f"its tensors take {end} bytes and {size} are there")


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _num_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize


def _write_array(file: Any, array: NDArray[Any]) -> None:
    flat = np.ascontiguousarray(array).reshape(-1)
    step = CHUNK_BYTES // max(flat.itemsize, 1)
    for begin in range(0, flat.size, step):
        file.write(flat[begin : begin + step].astype(flat.dtype.newbyteorder("<"), copy=False).data)


def _fail(path: Path, why: str, cause: BaseException | None = None) -> NoReturn:
    raise WeightsError(
        f"{path} is not a whole safetensors file: {why}",
        hint="download or convert it again; it may be cut off",
    ) from cause
