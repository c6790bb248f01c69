"""An index that is searched while other processes may change its file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, VideoError, VopError
from vopcli.files.s3 import is_remote
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.search.search import Index

OpenIndex = Callable[[Path], Index]
_WAIT_SECONDS: Final = 0.25  # for a changed file, then the search uses the last state


class ServedIndex:
    """An index file; a search never waits for a process that writes it.

    Attributes:
        path: the file.
        index: its last state that could be opened.
        no_confidence: why its hits have no confidence; None if they have one.
    """

    def __init__(self, path: Path, open_index: OpenIndex, *, look_seconds: float = 1.0) -> None:
        """Open an index and the text tower of its model.

        Args:
            path: the file.
            open_index: opens it.
            look_seconds: minimum time between two looks at size and time of the file.

        Raises:
            DataError: the index or its model is missing or damaged.
        """
        self.path, self._open, self._look_seconds = path, open_index, look_seconds
        self._state = _state_of(path)
        self.index, self.no_confidence = self._load()
        self._looked = time.monotonic()
        self._loading: asyncio.Task[None] | None = None

    async def fresh(self) -> Index:
        """Return the index, opened again if the file has changed."""
        now = time.monotonic()
        if self._loading is None and now - self._looked >= self._look_seconds:
            self._looked = now
            if _state_of(self.path) != self._state:
                self._loading = asyncio.create_task(self._reload())
        if self._loading is not None:
            await asyncio.wait([self._loading], timeout=_WAIT_SECONDS)
        return self.index

    async def _reload(self) -> None:
        state = _state_of(self.path)
        try:
            # a file that is being replaced, or that is damaged, leaves the state that is known to be sound
            with contextlib.suppress(VopError, OSError):
                self.index, self.no_confidence = await asyncio.to_thread(self._load)
                self._state = state
        finally:
            self._loading = None

    def _load(self) -> tuple[Index, DataError | None]:
        """Return the index, and why it has no confidence."""
        index = self._open(self.path)
        if not index.videos.is_empty:
            index.encode(["a"])  # loads the text tower, so that the first search is as fast as others
        try:
            index.prepare_confidence()
        except DataError as error:
            return index, error
        return index, None


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return size, modification time and inode of a file, None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def row_tag(videos: VideoIndex, row: int) -> str:
    """Return a short text that changes when another video gets the number of a row."""
    return f"{int(videos.record_of(row)['row_checksum']) & 0xFFFFFFFF:08x}"


def find_video(videos: VideoIndex, row: int, tag: str | None) -> IndexedVideo | None:
    """Return the video of a row number that a client sent; None if the row or the tag does not match.

    Raises:
        DataError: the row is damaged.
    """
    if not 0 <= row < videos.starts[-1]:
        return None
    segment, place = videos.position_of(row)
    is_done = videos.done[segment.number][place]
    if not is_done or (tag is not None and tag != row_tag(videos, row)):
        return None
    return videos.video(row)


def check_unchanged(video: IndexedVideo) -> Path:
    """Return the file of a video that still is the regular file that was encoded.

    Raises:
        VideoError: it is missing, on S3, not a regular file, or of another size or modification time.
    """
    if is_remote(video.file):
        raise VideoError(
            f"{video.path} is on S3; the page plays and cuts local files only",
            hint="use `vop search --clips`",
        )
    try:
        status = os.stat(video.file)  # noqa: PTH116  (a name of any bytes)
    except (OSError, ValueError) as error:
        raise VideoError(f"{video.path} is missing", hint="has it been moved?") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{video.path} is not a regular file", hint="run `vop encode` again")
    if (status.st_size, status.st_mtime_ns) != (video.size, video.mtime_ns):
        raise VideoError(f"{video.path} has changed since it was encoded", hint="run `vop encode` again")
    return Path(video.file)
