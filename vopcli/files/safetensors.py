"""Read and write safetensors files; tensors are mapped into memory, not loaded."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vopcli.errors import FileError, WeightsError, format_name

_DTYPES: Final = {
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


# The largest CLIP models have less than 2,000 tensors and a header of 0.3 MB.
_MAX_HEADER_BYTES: Final = 4 << 20
_MAX_TENSORS: Final = 20_000
_TOO_MANY: Final = "give a file with one model's weights"


@dataclass(frozen=True)
class SafetensorsFile:
    """The tensors of a safetensors file, mapped copy-on-write with bfloat16 as float32, and its metadata."""

    tensors: dict[str, NDArray[Any]]
    metadata: dict[str, str]


def read_safetensors(path: Path) -> SafetensorsFile:
    """Map every tensor of ``path`` into memory.

    Raises:
        WeightsError: the file is damaged, has too many tensors, or holds a dtype that is not supported.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _MAX_HEADER_BYTES < length < path.stat().st_size:  # a length beyond the file is damage
        raise WeightsError(f"{path} has a header of more than 4 MiB", hint=_TOO_MANY)
    try:
        with safe_open(path, framework="numpy"):  # refuses wrong sizes, and byte ranges with gaps or overlaps
            pass
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is damaged or not a safetensors file: {format_name(str(error), 200)}",
            hint="download or convert it again; the download may be incomplete",
        ) from error
    with path.open("rb") as file:
        header = json.loads(file.read(8 + length)[8:])
    if len(header) > _MAX_TENSORS:
        raise WeightsError(f"{path} has {len(header)} tensors, more than {_MAX_TENSORS}", hint=_TOO_MANY)
    metadata = header.pop("__metadata__", None) or {}
    data = np.asarray(np.memmap(path, np.uint8, mode="c"))[8 + length :]
    return SafetensorsFile({name: _view(path, name, entry, data) for name, entry in header.items()}, metadata)


def _view(path: Path, name: str, entry: dict[str, Any], data: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array that an entry of the header describes, as a view of the file's data.

    Raises:
        WeightsError: the dtype is not supported, or the shape has too many axes for NumPy.
    """
    if entry["dtype"] not in _DTYPES:
        raise WeightsError(
            f"{path}: {format_name(name)} has dtype {entry['dtype']}, which vop does not read",
            hint="quantised models are not supported: use an fp32, fp16 or bf16 file",
        )
    begin, end = entry["data_offsets"]
    try:
        array = data[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, OverflowError) as error:
        raise WeightsError(
            f"{path}: {format_name(name)} has a shape that NumPy cannot hold: {error}"
        ) from error
    if entry["dtype"] == "BF16":
        return widen_bfloat16(array)
    return array if array.flags.aligned else array.copy()


def write_safetensors_file(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write a temporary file and rename it to ``path``.

    Raises:
        FileError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    from vopcli.files.atomic import atomic_path

    # save_file ignores strides: a transposed array would be stored in the order of its memory
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, dict(metadata))
            _sort_metadata(temporary)
        except SafetensorError as error:
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise FileError(path, OSError(number, os.strerror(number))) from error


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a new file: equal content must give equal bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length))


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values of bf16 numbers given by their 16 bits: the upper half of the float32's."""
    wide = bits.astype("<u4")
    wide <<= 16
    return wide.view("<f4")
