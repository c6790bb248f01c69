"""Checksums of the rows of an index."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.files.arrays import checksum


def name_hash(path: str, root: str) -> int:
    """Return a hash of a video's name, equal for all its rows."""
    return checksum(np.frombuffer(os.fsencode(path) + b"\0" + os.fsencode(root), np.uint8))


def row_checksum(record: Any, path: str, root: str, reason: str = "") -> int:
    """Return the checksum of a record of dtype ``INDEX_ROW`` and of the texts it refers to."""
    fields = record.tobytes()[: -record.dtype["row_checksum"].itemsize]
    content = b"\0".join([fields, *map(os.fsencode, (path, root, reason))])
    return checksum(np.frombuffer(content, np.uint8))


def frames_checksum(frames: NDArray[np.float16], seconds: NDArray[np.float64]) -> int:
    """Return the checksum of the frame embeddings and times of a video."""
    return checksum(frames, checksum(seconds))
