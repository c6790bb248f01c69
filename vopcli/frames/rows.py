"""The rows of a frame store: append-only status records; the last record of a video wins.

The status has a column of its own and is written last: until then the row is pending.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.files.hdf5 import FileFormat, Segment
from vopcli.video.video_file import WHOLE, KnownVideos, TimeWindow, VideoFile

FRAME_ROW: Final = np.dtype(
    [
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
        ("window", "<f8", (2,)),  # start and end in seconds; (0, inf): the whole video
        ("is_part", "u1"),  # a window of a long video, besides the row of the video itself
        ("frames_segment", "<i4"),  # segment of the frames, not necessarily that of the row
        ("first_frame", "<i8"),
        ("path", "<i8", (2,)),  # half-open byte ranges in "paths"
        ("root", "<i8", (2,)),
        ("error", "S200"),
        ("row_crc32", "<u4"),  # of the status, all fields before this one, the path and the root
    ]
)
FRAME_FORMAT: Final = FileFormat(
    "vop-frames",
    4,
    {
        "status": np.dtype("u1"),
        "rows": FRAME_ROW,
        "paths": np.dtype("u1"),
        "seconds": np.dtype("<f8"),
        "checksums": np.dtype("<u8"),  # of each frame: `frame_checksums`
        "frames": np.dtype("u1"),
        "frame_bytes": np.dtype("u1"),
        "frame_ranges": np.dtype("<i8"),
    },
    "vop extract-frames SRC... STORE.h5 --overwrite",
)
_NO_HASH: Final = bytes(32)
_ERROR_BYTES: Final = 200


class Status(IntEnum):
    """Status of a row; a single flipped bit never turns another status into PENDING."""

    PENDING = 0  # planned, and not finished by the run
    DONE = ord("D")
    FAILED = ord("F")
    GONE = ord("G")  # the file was renamed: another row has its new name


@dataclass(frozen=True, kw_only=True)
class Row(VideoFile):
    """One row, with names instead of byte ranges.

    Attributes:
        status: status of the video.
        window: part of the video that is sampled.
        is_part: a window of a long video, which has a row of its own too.
        duration_seconds: duration.
        fps: average frames per second.
        width: displayed width in pixels.
        height: displayed height in pixels.
        rotation_degrees: clockwise rotation of the coded frames for display.
        num_real: number of frames that do not repeat the last one.
        num_frames: number of stored frames.
        num_bad_packets: packets that could not be decoded.
        frames_segment: number of the segment that holds the frames.
        first_frame: position of the first frame in that segment.
        error: reason of a failure.
    """

    status: Status
    window: TimeWindow = WHOLE
    is_part: bool = False
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
    error: str = ""


_STATUSES: Final = frozenset(int(status) for status in Status)
_APART: Final = frozenset({"sha256", "path", "root", "window", "error", "row_crc32"})


def pack_rows(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Pack rows into the columns "status" (N,), "rows" (N,) and "paths" (bytes,) of a segment."""
    names = bytearray()
    known: dict[str, tuple[int, int]] = {}
    packed = np.zeros(len(rows), FRAME_ROW)
    for i, row in enumerate(rows):
        for name in (row.path, row.root):
            if name not in known:
                encoded = os.fsencode(name)
                known[name] = (len(names), len(names) + len(encoded))
                names += encoded
        packed[i] = pack_row(row, known[row.path], known[row.root])[0]
    status = np.array([int(row.status) for row in rows], np.uint8)
    return {"status": status, "rows": packed, "paths": np.frombuffer(bytes(names), np.uint8)}


def pack_row(row: Row, path: tuple[int, int], root: tuple[int, int]) -> NDArray[Any]:
    """Pack one row into a (1,) array, given the byte ranges of its path and root."""
    packed = np.zeros(1, FRAME_ROW)
    for name in FRAME_ROW.names or ():
        if name not in _APART:
            packed[name] = getattr(row, name)
    packed["path"], packed["root"] = path, root
    packed["sha256"] = np.frombuffer(row.sha256 or _NO_HASH, np.uint8)
    packed["window"] = row.window.start_seconds, row.window.end_seconds
    packed["error"] = cut_text(row.error)
    names = os.fsencode(row.path), os.fsencode(row.root)
    packed["row_crc32"] = _row_crc32(int(row.status), packed.tobytes(), *names)
    return packed


def cut_text(text: str) -> bytes:
    """Encode an error text for its fixed-size field, truncated at a whole character."""
    encoded = text.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")
    return encoded[:_ERROR_BYTES].decode("utf-8", "ignore").encode()


def unpack_rows(segment: Segment) -> list[Row | None]:
    """Read the rows of a segment; damaged rows are None."""
    names = segment.map("paths").tobytes()
    rows, statuses = segment.map("rows"), segment.status  # of one state: rows are written before
    if len(rows) != len(statuses):
        return [None] * max(len(rows), len(statuses))
    contents = rows.tobytes()
    return [
        _unpack_row(status, values, contents[i * FRAME_ROW.itemsize : (i + 1) * FRAME_ROW.itemsize], names)
        for i, (status, values) in enumerate(zip(statuses.tolist(), rows.tolist(), strict=True))
    ]


def _unpack_row(status: int, values: tuple[Any, ...], content: bytes, names: bytes) -> Row | None:
    fields = dict(zip(FRAME_ROW.names or (), values, strict=True))
    (path_start, path_end), (root_start, root_end) = fields.pop("path"), fields.pop("root")
    path, root = names[path_start:path_end], names[root_start:root_end]
    crc32 = fields.pop("row_crc32")
    if status != Status.PENDING and _row_crc32(status, content, path, root) != crc32:
        return None
    if status not in _STATUSES:
        return None
    sha256 = bytes(fields.pop("sha256").tolist())
    return Row(
        status=Status(status),
        path=os.fsdecode(path),
        root=os.fsdecode(root),
        sha256=b"" if sha256 == _NO_HASH else sha256,
        window=TimeWindow(*fields.pop("window")),
        is_part=bool(fields.pop("is_part")),
        error=fields.pop("error").decode("utf-8", "replace"),
        **fields,
    )


def _row_crc32(status: int, content: bytes, path: bytes, root: bytes) -> int:
    return zlib.crc32(b"\0".join([bytes([status]), content[:-4], path, root]))


def latest(rows: Iterable[Row | None]) -> KnownVideos[Row]:
    """Return the last row of each video and window, without pending rows and renamed files."""
    videos: dict[str, Row] = {}
    parts: dict[str, dict[TimeWindow, Row]] = {}
    for row in rows:
        if row is None or row.status is Status.PENDING:
            continue
        if row.is_part:
            parts.setdefault(row.path, {})[row.window] = row
        elif row.status is Status.GONE:
            videos.pop(row.path, None)
            parts.pop(row.path, None)
        else:
            videos[row.path] = row
    ordered = {
        path: sorted(found.values(), key=lambda row: row.window.start_seconds)
        for path, found in parts.items()
    }
    return KnownVideos(videos, ordered)
