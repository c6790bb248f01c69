"""The identity of a video file: where it is, and how a later run tells whether it is still the same."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TypeVar


@dataclass(frozen=True)
class VideoFile:
    """A video file at the time it was looked at; the records of frame store and index extend it.

    Attributes:
        root: absolute folder.
        path: relative to ``root``; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        size: bytes of the file.
        mtime_ns: modification time, nanoseconds since 1970.
        sha256: hash of the content, 32 bytes; empty while it is not computed.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    sha256: bytes = b""

    @property
    def file(self) -> str:
        """Absolute path of the file."""
        return os.path.join(self.root, self.path)  # noqa: PTH118  (a Path would normalise the name)


Record = TypeVar("Record", bound=VideoFile)


def relocate(record: Record, file: VideoFile) -> Record:
    """Return a record with the name, size and time of another file of the same content."""
    return replace(record, root=file.root, path=file.path, size=file.size, mtime_ns=file.mtime_ns)
