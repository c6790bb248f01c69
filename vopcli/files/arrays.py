"""Arrays as columns of a file: checksums of their bytes, and file names packed into one array."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

_WORD_BYTES: Final = 8
_HASH_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


def checksum(array: NDArray[Any], seed: int = 0) -> int:
    """Return the XXH3-64 hash of the bytes of an array; `seed` chains an earlier hash."""
    contiguous: Any = np.ascontiguousarray(array)  # a buffer, of any dtype
    return int(xxhash.xxh3_64_intdigest(contiguous, seed))


def row_checksums(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the `checksum` of each row of an array (N, ...), as (N,)."""
    width = rows[:1].nbytes or 1  # without rows, there is nothing to step over
    data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    return np.array([xxhash.xxh3_64_intdigest(data[i : i + width]) for i in range(0, len(data), width)], "u8")


def pack_strings(strings: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pack file names of arbitrary bytes into one flat array.

    Returns:
        (bytes,) uint8, and (N, 2) int64 with the half-open byte range of each string.
    """
    encoded = [os.fsencode(string) for string in strings]
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(encoded) else ends
    return np.frombuffer(b"".join(encoded), np.uint8), np.stack([starts, ends], axis=1)


def unpack_string(packed: NDArray[np.uint8], start: int, end: int) -> str:
    """Return one string of `pack_strings`.

    Raises:
        ValueError: the range is not within ``packed``.
    """
    if not 0 <= start <= end <= len(packed):
        raise ValueError(f"string range {start}:{end} lies outside {len(packed)} bytes")
    return os.fsdecode(packed[start:end].tobytes())


def string_keys(ranges: NDArray[np.int64], packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a hash of each string of `pack_strings`, (N,) uint64; below 8 bytes, of its length alone.

    The hash is of the length, and of three words of 8 bytes: around the middle, and the last two.

    Args:
        ranges: (N, 2) int64, the half-open byte range of each string.
        packed: (bytes,) uint8, all strings.
    """
    ranges = np.clip(ranges, 0, len(packed))
    starts, ends = ranges[:, 0], ranges[:, 1]
    lengths = (ends - starts).astype(np.uint64)
    if len(packed) < _WORD_BYTES:
        return lengths
    words = np.ndarray(len(packed) - _WORD_BYTES + 1, "<u8", packed.data, strides=1)
    keys = lengths.copy()
    middles = (starts + ends - _WORD_BYTES) // 2
    for places in (middles, np.maximum(starts, ends - 2 * _WORD_BYTES), ends - _WORD_BYTES):
        keys ^= words[np.clip(places, 0, len(words) - 1)]  # np.take would copy all of them
        keys *= _HASH_FACTOR
    return np.where(lengths < _WORD_BYTES, lengths, keys)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct values in order, like `np.unique`, which loads NumPy's masked arrays."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]


def is_in(values: NDArray[Any], ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each value is one of ``ordered``, distinct values in order."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    place = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
    return np.equal(ordered[place], values)
