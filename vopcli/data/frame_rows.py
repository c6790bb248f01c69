"""The rows of a frame store: one for each thing that was said of a video, the last one said holds."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.hdf5 import FileFormat, Segment

ROW: Final = np.dtype(
    [
        ("status", "u1"),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("sha256", "u1", (32,)),
        ("duration_seconds", "<f8"),
        ("fps", "<f8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("rotation_degrees", "<i4"),
        ("num_real", "<i4"),
        ("num_frames", "<i4"),
        ("num_bad_packets", "<i4"),
        ("frames_segment", "<i4"),  # where the frames are: not always this segment
        ("first_frame", "<i8"),
        ("path", "<i8", (2,)),  # half-open byte ranges in "paths"
        ("root", "<i8", (2,)),
        ("frames_crc32", "<u4"),
        ("error", "S200"),
        ("row_crc32", "<u4"),  # of all before it, and of the path and root themselves
    ]
)
FRAME_FORMAT: Final = FileFormat(
    "vop-frames",
    1,
    {
        "rows": ROW,
        "paths": np.dtype("u1"),
        "seconds": np.dtype("<f8"),
        "frames": np.dtype("u1"),
        "frame_bytes": np.dtype("u1"),
        "frame_ranges": np.dtype("<i8"),
    },
)
_NO_HASH: Final = bytes(32)
_ERROR_BYTES: Final = 200


class Status(IntEnum):
    """What a row says of its video."""

    PENDING = 0  # nothing yet: its frames were planned, and the run ended before they were there
    DONE = 1
    FAILED = 2
    GONE = 3  # the file has another name now, under which another row lists it


@dataclass(frozen=True)
class Row:
    """One row, with names instead of byte ranges.

    Attributes:
        status: what the row says.
        path: name of the video, relative to ``root``.
        root: absolute folder.
        size: bytes of the video file.
        mtime_ns: time of its last change, nanoseconds since 1970.
        sha256: hash of its content, 32 bytes; empty when it was not taken.
        duration_seconds: how long it plays.
        fps: frames a second, on average.
        width: pixels across as displayed.
        height: pixels down as displayed.
        rotation_degrees: by how much the coded picture is turned to be displayed.
        num_real: frames that are the video's own; the rest repeats the last of them.
        num_frames: frames stored.
        num_bad_packets: packets of the video that could not be decoded.
        frames_segment: number of the segment that holds the frames.
        first_frame: their place in it.
        frames_crc32: CRC-32 of their times and pixels.
        error: why the video failed.
    """

    status: Status
    path: str
    root: str
    size: int
    mtime_ns: int
    sha256: bytes = b""
    duration_seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    rotation_degrees: int = 0
    num_real: int = 0
    num_frames: int = 0
    num_bad_packets: int = 0
    frames_segment: int = 0
    first_frame: int = 0
    frames_crc32: int = 0
    error: str = ""

    @property
    def file(self) -> str:
        """Absolute name of the video file."""
        return os.path.join(self.root, self.path)  # noqa: PTH118  (a Path would normalise the name)

    def renamed(self, path: str, root: str, *, size: int, mtime_ns: int) -> Row:
        """Return this row for the same content in another file."""
        return replace(self, path=path, root=root, size=size, mtime_ns=mtime_ns)


_PLAIN_FIELDS: Final = tuple(
    name for name in ROW.names or () if name not in {"status", "sha256", "path", "root", "error", "row_crc32"}
)


def pack_rows(rows: Sequence[Row]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Pack rows into the "rows" and "paths" columns of a segment: (N,) `ROW` and (bytes,) uint8."""
    names = bytearray()
    ranges = []
    known: dict[str, tuple[int, int]] = {}
    for row in rows:
        for name in (row.path, row.root):
            if name not in known:
                encoded = os.fsencode(name)
                known[name] = (len(names), len(names) + len(encoded))
                names += encoded
        ranges.append((known[row.path], known[row.root]))
    packed = np.zeros(len(rows), ROW)
    for i, row in enumerate(rows):
        packed[i] = pack_row(row, *ranges[i])
    return packed, np.frombuffer(bytes(names), np.uint8)


def pack_row(row: Row, path: tuple[int, int], root: tuple[int, int]) -> np.void:
    """Pack one row, given the byte ranges of its path and root."""
    packed = np.zeros(1, ROW)
    for name in _PLAIN_FIELDS:
        packed[name] = getattr(row, name)
    packed["status"], packed["path"], packed["root"] = int(row.status), path, root
    packed["sha256"] = np.frombuffer(row.sha256 or _NO_HASH, np.uint8)
    packed["error"] = cut_text(row.error)
    packed["row_crc32"] = _row_crc32(packed[0], os.fsencode(row.path), os.fsencode(row.root))
    return packed[0]


def cut_text(text: str) -> bytes:
    """Encode an error text for its fixed field; what is too long ends at a whole character."""
    encoded = text.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")
    return (
        encoded[:_ERROR_BYTES].decode("utf-8", "ignore").encode() if len(encoded) > _ERROR_BYTES else encoded
    )


def unpack_rows(segment: Segment) -> tuple[list[Row | None], NDArray[Any]]:
    """Read the rows of a segment; a row that was damaged, or written in part, is None.

    Returns:
        The rows, and the packed (N,) `ROW` array they came from.
    """
    packed, names = np.array(segment.map("rows")), segment.map("paths").tobytes()
    return [_unpack_row(row, names) for row in packed], packed


def _unpack_row(packed: np.void, names: bytes) -> Row | None:
    (path_start, path_end), (root_start, root_end) = packed["path"].tolist(), packed["root"].tolist()
    if not (0 <= path_start <= path_end <= len(names) and 0 <= root_start <= root_end <= len(names)):
        return None
    path, root = names[path_start:path_end], names[root_start:root_end]
    if (
        _row_crc32(packed, path, root) != packed["row_crc32"]
        or packed["status"] not in Status._value2member_map_
    ):
        return None
    sha256 = packed["sha256"].tobytes()
    return Row(
        status=Status(int(packed["status"])),
        path=os.fsdecode(path),
        root=os.fsdecode(root),
        sha256=b"" if sha256 == _NO_HASH else sha256,
        error=packed["error"].decode("utf-8", "replace"),
        **{name: packed[name].item() for name in _PLAIN_FIELDS},
    )


def _row_crc32(packed: np.void, path: bytes, root: bytes) -> int:
    return zlib.crc32(b"\0".join([packed.tobytes()[:-4], path, root]))


def latest(rows: Iterable[Row | None]) -> dict[str, Row]:
    """Return what holds of each path: the last row that says something of it, if not that it is gone."""
    state: dict[str, Row] = {}
    for row in rows:
        if row is None or row.status is Status.PENDING:
            continue
        if row.status is Status.GONE:
            state.pop(row.path, None)
        else:
            state[row.path] = row
    return state
