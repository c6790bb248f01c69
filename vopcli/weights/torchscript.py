"""Read the tensors of a TorchScript archive without running any code from it.

The archive is a zip: ``data.pkl`` is a tree of modules whose tensors refer to ``data/<key>``. A restricted
unpickler reads it, which knows only empty modules, tensors and dictionaries; it is in pure Python, because
one damaged byte can make the C unpickler allocate all memory. Uncompressed storages are memory-mapped.
"""

from __future__ import annotations

import io
import math
import pickle  # only the parser: see _Unpickler.find_class
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import WeightsError, format_name
from vopcli.files.safetensors import widen_bfloat16

MAX_PICKLE_BYTES = 1 << 26  # OpenAI's are below one megabyte
MAX_EXPANSION = 20  # unpacked size as a multiple of the zip's size; weights hardly compress
MAX_MODULES = 100_000
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,  # RecursionError too
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class DamageError(ValueError):
    """A damaged file; the message is meant for the user."""


class TorchZip:
    """A zip written by PyTorch, opened and checked; a context manager.

    Raises:
        WeightsError: the zip is damaged, unpacks to far more than its size, or is not PyTorch's.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FAULTS as error:
            _fail(path, error)
        sizes = {entry.filename: entry.file_size for entry in self._zip.infolist()}
        size = path.stat().st_size
        if sum(sizes.values()) > MAX_EXPANSION * size + (1 << 26):
            raise WeightsError(f"{path} would unpack to {sum(sizes.values())} bytes from {size}: refused")
        roots = [
            name.removesuffix("data.pkl")
            for name in sizes
            if name.endswith("/data.pkl") and name.count("/") == 1
        ]
        if len(roots) != 1:
            raise WeightsError(
                f"{path} is a zip without PyTorch's data.pkl", hint="unpack it and give the weights file"
            )
        self.root = roots[0]
        self.is_torchscript = f"{self.root}constants.pkl" in sizes
        self._bytes: NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, mode="c"))

    def __enter__(self) -> TorchZip:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def read_pickle(self) -> bytes:
        """Return the bytes of ``data.pkl``.

        Raises:
            WeightsError: ``data.pkl`` is damaged or larger than 64 MB.
        """
        entry = self._zip.getinfo(f"{self.root}data.pkl")
        if entry.file_size > MAX_PICKLE_BYTES:
            raise WeightsError(
                f"{self.path}: data.pkl has {entry.file_size} bytes, more than any model needs"
            )
        try:
            return self._zip.read(entry)
        except FAULTS as error:
            _fail(self.path, error)

    def read_storage(self, key: str, num_bytes: int) -> NDArray[np.uint8]:
        """Return the (num_bytes,) bytes of ``data/<key>``, memory-mapped unless compressed.

        Raises:
            DamageError: the entry has another size.
            KeyError: the entry is missing.
        """
        entry = self._zip.getinfo(f"{self.root}data/{key}")
        if entry.file_size != num_bytes:
            raise DamageError(f"data/{key} has {entry.file_size} bytes, not {num_bytes}")
        if entry.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(bytearray(self._zip.read(entry)), np.uint8)
        header = self._bytes[entry.header_offset : entry.header_offset + 30].tobytes()
        signature, name_length, extra_length = struct.unpack("<4s22xHH", header)
        begin = entry.header_offset + 30 + name_length + extra_length
        if signature != b"PK\x03\x04" or entry.flag_bits & 1 or begin + num_bytes > self._bytes.size:
            raise DamageError(f"data/{key} is not at its position in the archive")
        return self._bytes[begin : begin + num_bytes]


def read_torchscript(archive: TorchZip) -> dict[str, NDArray[Any]]:
    """Return every tensor of a TorchScript archive by its dotted name; bf16 is widened to fp32.

    Raises:
        WeightsError: the archive is damaged or contains anything but modules and tensors.
    """
    try:
        module = _Unpickler(archive).load()
        return dict(_walk(module))
    except FAULTS as error:
        _fail(archive.path, error)


class _Module:
    """Stand-in for every TorchScript class: it has a state and no behaviour."""

    __slots__ = ("state",)

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Storage:
    """Dtype of a storage in the pickle; cannot be called or changed."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _RebuildTensor:
    """Stand-in for ``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()

    def __call__(
        self, storage: NDArray[Any], offset: int, size: Any, stride: Any, *_: object
    ) -> NDArray[Any]:
        return _strided(storage, offset, tuple(size), tuple(stride))


class _BuildList:
    """Stand-in for ``torch.jit._pickle.build_intlist`` and similar functions."""

    __slots__ = ()

    def __call__(self, items: Any) -> list[Any]:
        return list(items)


class _Unpickler(pickle._Unpickler):
    """Unpickler of a module tree; all other globals are refused."""

    def __init__(self, archive: TorchZip) -> None:
        super().__init__(io.BytesIO(archive.read_pickle()), encoding="utf-8")
        self._archive = archive
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _BuildList()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(
            f"it refers to {format_name(module)}.{format_name(name)}, which weights do not need"
        )

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        tag, storage, key, _, num_items = pid
        if tag != "storage" or not isinstance(storage, _Storage) or not isinstance(key, str):
            raise pickle.UnpicklingError("it refers to something that is not a tensor")
        if key not in self._storages:
            self._storages[key] = self._read(storage.dtype, key, num_items)
        return self._storages[key]

    def _read(self, dtype: str, key: str, num_items: int) -> NDArray[Any]:
        is_bfloat16 = dtype == "bf16"
        code = np.dtype("<u2" if is_bfloat16 else dtype)
        items = self._archive.read_storage(key, num_items * code.itemsize).view(code)
        if is_bfloat16:
            return widen_bfloat16(items)
        return items if items.flags.aligned else items.copy()


def _strided(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> NDArray[Any]:
    """View a 1-D storage as a tensor, which may not have more elements than the storage.

    Raises:
        DamageError: the tensor exceeds the storage, or its description is invalid.
    """
    numbers = (offset, *size, *stride)
    if not isinstance(storage, np.ndarray) or len(size) != len(stride) or len(size) > 16:
        raise DamageError("the description of a tensor is invalid")
    if any(type(number) is not int or not 0 <= number < 1 << 48 for number in numbers):
        raise DamageError("a tensor has an invalid size, stride or offset")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    num_items = math.prod(int(length) for length in size)
    if num_items > storage.size or (num_items and last >= storage.size):
        raise DamageError("a tensor exceeds its storage")
    if not num_items:
        return np.empty(size, storage.dtype)
    strides = tuple(step * storage.itemsize for step in stride)
    flat = storage[offset : offset + num_items].reshape(size)
    if flat.strides == strides:
        return flat
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def _walk(root: object) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield dotted names and tensors in the order of the file.

    Raises:
        DamageError: `root` is not a tree of modules.
    """
    if not isinstance(root, _Module):
        raise DamageError("it does not contain a module")
    left = MAX_MODULES
    pending: list[tuple[str, object]] = [("", root)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, np.ndarray):
            yield name, value
        elif isinstance(value, _Module) and isinstance(state := getattr(value, "state", None), dict):
            left -= 1 + len(state)
            if left < 0 or name.count(".") > 100:
                raise DamageError("its modules are nested too deeply")
            prefix = f"{name}." if name else ""
            pending += [(f"{prefix}{key}", child) for key, child in reversed(state.items())]


def _fail(path: Path, error: BaseException) -> NoReturn:
    is_clear = isinstance(error, DamageError | pickle.UnpicklingError | zipfile.BadZipFile)
    reason = format_name(str(error), 200) if is_clear else "it is damaged"
    raise WeightsError(
        f"{path} cannot be read as PyTorch weights: {reason}",
        hint="download it again from a trusted source; it may be incomplete",
    ) from error
