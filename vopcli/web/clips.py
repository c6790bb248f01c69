"""Clips of moments as MP4 files, to save or to play in a browser; kept in a folder of limited size."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio

from vopcli.errors import UsageError
from vopcli.index.reader import IndexedVideo
from vopcli.video.clip import cut_clip
from vopcli.web.frames import drop_oldest, name_of
from vopcli.web.gate import Gate
from vopcli.web.served import check_unchanged

MOST_SECONDS: Final = 120.0
_MOST_BYTES: Final = 512 << 20  # of the folder


class ClipCache:
    """Cuts clips, each of them once."""

    def __init__(self, folder: Path, gate: Gate) -> None:
        """Use a folder, which is created when needed.

        Args:
            folder: of the clips.
            gate: limits how many clips are cut at a time.
        """
        self._folder, self._gate = folder, gate
        self._locks: weakref.WeakValueDictionary[Path, anyio.Lock] = weakref.WeakValueDictionary()

    async def cut(self, video: IndexedVideo, start: float, end: float) -> Path:
        """Return a file with a part of a video and its sound; times in seconds.

        Raises:
            VideoError: the video has changed, is missing or damaged, or has no such part.
            FileError: the folder cannot be written.
            CrowdedError: too many clips are asked for.
        """
        target = self._folder / f"{name_of(video, start, end)}.mp4"
        lock = self._locks.setdefault(target, anyio.Lock())
        async with lock:
            if not target.exists():
                await self._gate.run(self._cut, video, target, start, end)
        return target

    def _cut(self, video: IndexedVideo, target: Path, start: float, end: float) -> None:
        file = check_unchanged(video)
        cut_clip(str(file), target, start, end, overwrite=True)
        drop_oldest(self._folder, _MOST_BYTES)


def parse_range(values: Mapping[str, str]) -> tuple[float, float]:
    """Parse the parameters ``start`` and ``end`` of a clip, in seconds.

    Raises:
        UsageError: one is missing or not a number, or the clip is empty or too long.
    """
    try:
        start, end = float(values["start"]), float(values["end"])
    except (KeyError, ValueError):
        raise UsageError("a clip needs start and end", hint="give seconds, such as start=1.5&end=4") from None
    if not 0 <= start < end < math.inf or end - start > MOST_SECONDS:
        raise UsageError(
            f"a clip cannot go from {start:g} to {end:g} s", hint=f"cut at most {MOST_SECONDS:g} s"
        )
    return start, end
