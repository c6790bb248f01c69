"""Part of an index: the videos of a folder, a length or a date, which are then ranked without the others.

Axes: N rows of a segment.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vopcli.index.reader import VideoIndex
from vopcli.search.stores import EngineIndex

_YEARS: Final = datetime.date(1700, 1, 1), datetime.date(2260, 1, 1)  # of times in nanoseconds

# as long as an index is open; reading its paths takes a second for 100,000 videos
_FOLDERS: Final[WeakKeyDictionary[VideoIndex, tuple[list[str], list[NDArray[np.int64]]]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True)
class VideoFilter:
    """Which videos to rank; both ends of a range are included.

    Attributes:
        folder: text in the absolute folder of the video, which ends in "/"; case is ignored.
        longer: minimum duration in seconds.
        shorter: maximum duration in seconds.
        after: first day of modification, in local time.
        before: last day of modification.
    """

    folder: str = ""
    longer: float | None = None
    shorter: float | None = None
    after: datetime.date | None = None
    before: datetime.date | None = None

    def choose(self, index: VideoIndex) -> VideoIndex:
        """Return the part of an index that passes.

        Raises:
            DataError: a search engine does not answer.
        """
        if isinstance(index, EngineIndex):
            return index.part(self)
        return PartIndex(index, [self._passes(index, number) for number in range(len(index.done))])

    @property
    def changed_ns(self) -> tuple[int | None, int | None]:
        """The half-open range of modification times, in nanoseconds since 1970."""
        end = min(self.before, _YEARS[1]) + datetime.timedelta(1) if self.before else None
        return _begin_ns(self.after) if self.after else None, _begin_ns(end) if end else None

    def _passes(self, index: VideoIndex, number: int) -> NDArray[np.bool_]:
        """Return the live rows (N,) of a segment that pass; rows are not compared with their checksums."""
        rows, passed = index.records[number], index.done[number].copy()
        if self.longer is not None:
            passed &= rows["duration_seconds"] >= self.longer
        if self.shorter is not None:
            passed &= rows["duration_seconds"] <= self.shorter
        begin, end = self.changed_ns
        if begin is not None:
            passed &= rows["mtime_ns"] >= begin
        if end is not None:
            passed &= rows["mtime_ns"] < end
        if self.folder:
            folders, columns = _folders_of(index)
            passed &= np.array([self.folder.casefold() in folder for folder in folders], np.bool_)[
                columns[number]
            ]
        return passed


class PartIndex(VideoIndex):
    """Some videos of an index, under their row numbers.

    Attributes:
        whole: the index.
    """

    def __init__(self, whole: VideoIndex, chosen: Sequence[NDArray[np.bool_]]) -> None:
        """Choose rows by a mask (N,) for each segment; those of a video all or none."""
        self.__dict__.update(whole.__dict__)
        self.__dict__.pop("num_names", None)  # cached
        self.whole = whole
        self.done = [done & mask for done, mask in zip(whole.done, chosen, strict=True)]
        self.is_video = [videos & mask for videos, mask in zip(whole.is_video, chosen, strict=True)]


def _begin_ns(day: datetime.date) -> int:
    """Return the time at which a day begins here, in nanoseconds since 1970."""
    day = min(max(day, _YEARS[0]), _YEARS[1] + datetime.timedelta(1))
    return int(datetime.datetime.combine(day, datetime.time()).timestamp()) * 10**9


def _folders_of(index: VideoIndex) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Return the distinct folders, casefolded, and by segment the number of that of each row (N,)."""
    if index not in _FOLDERS:
        numbers: dict[tuple[bytes, bytes], int] = {}
        columns = []
        for segment, rows in zip(index.segments, index.records, strict=True):
            packed = segment.map("paths").tobytes()
            ranges = zip(rows["root"].tolist(), rows["path"].tolist(), strict=True)
            names = (
                (packed[slice(*root)], packed[slice(*path)].rpartition(b"/")[0]) for root, path in ranges
            )
            columns.append(np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64))
        folders = [os.path.join(*map(os.fsdecode, name), "").casefold() for name in numbers]  # noqa: PTH118
        _FOLDERS[index] = folders, columns
    return _FOLDERS[index]
