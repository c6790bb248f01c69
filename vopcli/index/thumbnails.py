"""Thumbnails of an index: each frame has a slot of fixed size, which is one value of a column.

A slot holds the length of a JPEG file in two bytes, the file, zeros, and the XXH3-64 hash of all before it. A
slot of zeros is a frame without a thumbnail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.files.arrays import checksum

if TYPE_CHECKING:
    from vopcli.index.reader import VideoIndex

SLOT_BYTES: Final = 4096
_SUM_BYTES: Final = 8
MAX_JPEG_BYTES: Final = SLOT_BYTES - _SUM_BYTES - 2


def pack_thumbnail(jpeg: bytes) -> NDArray[np.uint8]:
    """Return the slot (SLOT_BYTES,) of a JPEG file of at most ``MAX_JPEG_BYTES`` bytes.

    Raises:
        ValueError: the file is empty or larger.
    """
    if not 0 < len(jpeg) <= MAX_JPEG_BYTES:
        raise ValueError(f"a thumbnail has 1 to {MAX_JPEG_BYTES} bytes, got {len(jpeg)}")
    slot = np.zeros(SLOT_BYTES, np.uint8)
    slot[:2] = np.frombuffer(len(jpeg).to_bytes(2, "little"), np.uint8)
    slot[2 : 2 + len(jpeg)] = np.frombuffer(jpeg, np.uint8)
    slot[-_SUM_BYTES:] = np.frombuffer(checksum(slot[:-_SUM_BYTES]).to_bytes(_SUM_BYTES, "little"), np.uint8)
    return slot


def unpack_thumbnail(slot: NDArray[np.uint8]) -> bytes | None:
    """Return the JPEG file in a slot, None for an empty slot.

    Raises:
        ValueError: the slot does not match its checksum.
    """
    if not slot.any():
        return None
    content = slot.tobytes()
    length = int.from_bytes(content[:2], "little")
    if (
        checksum(slot[:-_SUM_BYTES]) != int.from_bytes(content[-_SUM_BYTES:], "little")
        or length > MAX_JPEG_BYTES
    ):
        raise ValueError("does not match its checksum")
    return content[2 : 2 + length]


def has_thumbnails(index: VideoIndex, row: int) -> bool:
    """Whether the segment of a row has thumbnails; single frames may still have none."""
    # that of a search engine has no segments
    return bool(index.segments) and "thumbnails" in index.position_of(row)[0].columns


def slots_of(index: VideoIndex, row: int) -> NDArray[np.uint8] | None:
    """Return the slots (F, SLOT_BYTES) of a row, memory-mapped; None if its segment has no thumbnails.

    Raises:
        DataError: the row is damaged.
    """
    if not has_thumbnails(index, row):
        return None
    record = index.record_of(row)
    begin, end = int(record["first_frame"]), int(record["first_frame"] + record["num_frames"])
    slots = index.position_of(row)[0].map("thumbnails")
    if not 0 <= begin <= end <= len(slots):
        raise index.damaged(f"row {row} lies outside its thumbnails")
    return slots[begin:end]


def read_thumbnail(index: VideoIndex, row: int, number: int) -> bytes | None:
    """Return the JPEG file of a frame, None if it has none.

    Raises:
        DataError: the thumbnail is damaged.
    """
    slots = slots_of(index, row)
    try:
        return None if slots is None else unpack_thumbnail(slots[number])
    except ValueError as error:
        raise index.damaged(f"a thumbnail of {index.path_of(row)} {error}") from error
