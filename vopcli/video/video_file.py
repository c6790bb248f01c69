"""The identity of a video file, which shows whether it has changed; and time ranges of a video."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Protocol, TypeVar


@dataclass(frozen=True)
class VideoFile:
    """A video file in the state in which it was found; the records of frame store and index extend it.

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


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The part of a video that frames are taken from; times are relative to the first presented frame.

    Attributes:
        start_seconds: start, inclusive.
        end_seconds: end, exclusive; may be after the end of the video.
    """

    start_seconds: float
    end_seconds: float

    def __str__(self) -> str:
        return "all of it" if self == WHOLE else f"{self.start_seconds:g} to {self.end_seconds:g} s"


WHOLE: Final = TimeWindow(0.0, math.inf)


def range_name(path: str, window: TimeWindow) -> str:
    """Return the name of a range of a video, such as ``a.mp4@12.5-20``; of the whole video its path."""
    if window == WHOLE:
        return path
    start, end = (str(seconds).removesuffix(".0") for seconds in (window.start_seconds, window.end_seconds))
    return f"{path}@{start}-{end}"


def is_same_file(one: VideoFile, other: VideoFile) -> bool:
    """Whether root, path, size and modification time are equal."""
    return (one.root, one.path, one.size, one.mtime_ns) == (
        other.root,
        other.path,
        other.size,
        other.mtime_ns,
    )


Record = TypeVar("Record", bound=VideoFile)
Item = TypeVar("Item")


class _HasWindow(Protocol):
    @property
    def window(self) -> TimeWindow: ...


def missing_windows(
    stored: Iterable[_HasWindow], wanted: Sequence[tuple[TimeWindow, Item]]
) -> list[tuple[TimeWindow, Item]]:
    """Return the windows of a video that are not stored yet, and the video itself, which is the last.

    Args:
        stored: windows that an interrupted run has finished.
        wanted: all windows of the video, each with a value of the caller, and the video itself.
    """
    known = {part.window for part in stored}
    return [pair for pair in wanted[:-1] if pair[0] not in known] + [wanted[-1]]


def relocate(record: Record, file: VideoFile) -> Record:
    """Return a record with the name, size and time of another file of the same content."""
    return replace(record, root=file.root, path=file.path, size=file.size, mtime_ns=file.mtime_ns)


@dataclass
class KnownVideos(Generic[Record]):
    """The videos of a frame store or an index.

    Attributes:
        videos: the record of each video, by path.
        parts: the records of the windows of long videos, by path. Those of a video are written before its
            own; windows without it are of an interrupted run, and windows of another state of the file
            (`is_same_file`) are outdated.
    """

    videos: dict[str, Record] = field(default_factory=dict)
    parts: dict[str, list[Record]] = field(default_factory=dict)

    def parts_of(self, file: VideoFile) -> list[Record]:
        """Return the windows of a video, if the file is still the same."""
        return [part for part in self.parts.get(file.path, []) if is_same_file(part, file)]
