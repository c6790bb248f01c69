"""Pack file names into one array of bytes, as a column of a file."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray


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
