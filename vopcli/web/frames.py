"""Pictures of frames, decoded from the videos and kept in a folder of limited size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio

from vopcli.index.reader import IndexedVideo
from vopcli.video.chosen import read_stills
from vopcli.video.preprocess import jpeg_bytes
from vopcli.web.gate import Gate
from vopcli.web.served import check_unchanged

SIZE: Final = (320, 180)  # pixels
_QUALITY: Final = 80
_MOST_BYTES: Final = 256 << 20  # of the folder
_CHECKED_EVERY: Final = 500  # new files


class FrameCache:
    """Decodes frames, all those of a strip at once."""

    def __init__(self, folder: Path, gate: Gate) -> None:
        """Use a folder, which is created when needed.

        Args:
            folder: of the JPEG files.
            gate: limits how many videos are decoded at a time.
        """
        self._folder, self._gate, self._added = folder, gate, 0
        self._locks: weakref.WeakValueDictionary[str, anyio.Lock] = weakref.WeakValueDictionary()

    async def jpeg(self, video: IndexedVideo, seconds: float, others: Sequence[float]) -> bytes:
        """Return a frame of a video as a JPEG file.

        Args:
            video: the video, or a window of it.
            seconds: time of the frame.
            others: times of frames that will be asked for next.

        Raises:
            VideoError: the file has changed, is missing or damaged.
            CrowdedError: too many frames are asked for.
        """
        target = self._target(video, seconds)
        if (found := _read(target)) is not None:
            return found
        times = sorted({seconds, *others})
        key = f"{video.file} {times}"
        lock = self._locks.setdefault(key, anyio.Lock())
        async with lock:  # the other frames of the strip wait for the first one, which decodes them all
            if (found := _read(target)) is not None:
                return found
            return await self._gate.run(self._decode, video, times, seconds)

    def _decode(self, video: IndexedVideo, times: Sequence[float], wanted: float) -> bytes:
        """Decode and keep frames; return one of them.

        Raises:
            VideoError: the file has changed, is missing or damaged.
        """
        stills = read_stills(str(check_unchanged(video)), times, SIZE)
        pictures = [jpeg_bytes(still, _QUALITY) for still in stills]
        for time, picture in zip(times, pictures, strict=True):
            self._keep(self._target(video, time), picture)
        return pictures[times.index(wanted)]

    def _target(self, video: IndexedVideo, seconds: float) -> Path:
        return self._folder / f"{name_of(video, seconds, SIZE)}.jpg"

    def _keep(self, target: Path, picture: bytes) -> None:
        with contextlib.suppress(OSError):  # without a cache, each visit decodes
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
                file.write(picture)
            Path(file.name).replace(target)  # not synced: a damaged picture of the cache is decoded again
            if self._added % _CHECKED_EVERY == 0:
                drop_oldest(self._folder, _MOST_BYTES)
            self._added += 1


def name_of(video: IndexedVideo, *parts: object) -> str:
    """Return the name of a file that is derived from parts of a video; a changed video gets other names."""
    words = "\0".join(map(str, (video.file, video.size, video.mtime_ns, *parts)))
    return hashlib.sha256(os.fsencode(words)).hexdigest()[:32]


def drop_oldest(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files of a folder until the rest has at most 80 % of ``most_bytes``."""
    files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(folder))
    excess = sum(size for _, size, _ in files) - most_bytes
    if excess <= 0:
        return
    excess += most_bytes // 5
    for _, size, path in files:
        if excess <= 0:
            break
        Path(path).unlink(missing_ok=True)
        excess -= size


def _read(path: Path) -> bytes | None:
    """Return a kept picture; None if it is missing or was cut off by a crash of the system."""
    try:
        picture = path.read_bytes()
    except OSError:
        return None
    return picture if picture.endswith(b"\xff\xd9") else None
