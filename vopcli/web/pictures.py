"""Pictures that were uploaded to be searched for; they are kept in memory, and the oldest are dropped.

Each is decoded in a process of its own, because a decoder may crash, hang or take all memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vopcli.errors import DataError, UsageError, VideoError
from vopcli.video.picture import decode_picture
from vopcli.video.pool import DecodeJob, run_jobs
from vopcli.video.preprocess import jpeg_bytes

MAX_UPLOAD_BYTES: Final = 20 << 20
_SIDE: Final = 512  # pixels of a kept picture; models take less
_QUALITY: Final = 92
_MOST_KEPT: Final = 200
_SECONDS: Final = 30.0
_MEMORY_BYTES: Final = 2 << 30  # 50 megapixels of 16 bits take 1 GB


class Pictures:
    """Uploaded pictures by name, as JPEG files of some 50 KB."""

    def __init__(
        self, *, most: int = _MOST_KEPT, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES
    ) -> None:
        """Start without pictures.

        Args:
            most: maximum number of pictures to keep.
            seconds: time to decode one.
            memory_bytes: of the process that decodes it; without effect where the system has no such limit.
        """
        self._most, self._seconds, self._memory_bytes = most, seconds, memory_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def add(self, upload: bytes) -> str:
        """Keep a picture; return its name.

        Raises:
            UsageError: it is not a picture, damaged, of too many pixels, or takes too much time or memory.
        """
        jobs = run_jobs(
            [DecodeJob(0, "the upload")],
            _Shrink(upload, self._memory_bytes),
            workers=1,
            stalled_seconds=self._seconds,
        )
        [(_, jpeg)] = jobs
        if isinstance(jpeg, VideoError):
            raise UsageError(str(jpeg), hint=jpeg.hint)
        name = hashlib.sha256(jpeg).hexdigest()[:16]
        self._kept[name] = jpeg
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return name

    def jpeg(self, name: str) -> bytes | None:
        """Return the file of a picture, None if it is not kept."""
        return self._kept.get(name)

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Return a picture: (height, width, 3) uint8 RGB.

        Raises:
            UsageError: the picture is not kept.
        """
        jpeg = self.jpeg(name)
        if jpeg is None:
            raise UsageError("the picture is no longer kept", hint="drop it on the page again")
        return np.asarray(Image.open(io.BytesIO(jpeg)))


def shrink_picture(upload: bytes, name: str) -> bytes:
    """Return a picture as a JPEG file of at most 512 x 512 pixels, upright.

    Raises:
        DataError: it is not a picture of a known format, damaged, or of more than 50 million pixels.
    """
    return jpeg_bytes(decode_picture(io.BytesIO(upload), name, side=_SIDE), _QUALITY)


@dataclass(frozen=True)
class _Shrink:
    """The work of the process."""

    upload: bytes
    memory_bytes: int

    def __call__(self, job: DecodeJob, tick: Callable[[], None]) -> Iterator[bytes]:
        with contextlib.suppress(ImportError, OSError, ValueError):  # Windows, or a lower limit
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (self.memory_bytes, self.memory_bytes))
        try:
            yield shrink_picture(self.upload, job.path)
        except DataError as error:
            raise VideoError(str(error), hint=error.hint) from error
        except MemoryError as error:
            raise VideoError(f"{job.path} takes too much memory", hint="save it in a smaller size") from error
