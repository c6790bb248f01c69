"""Pictures that were uploaded to be searched for; they are kept in memory, and the oldest are dropped."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vopcli.errors import DataError, UsageError
from vopcli.video.picture import decode_picture
from vopcli.web.frames import encode_jpeg

MAX_UPLOAD_BYTES: Final = 20 << 20
_SIDE: Final = 512  # pixels of a kept picture; models take less
_MOST_KEPT: Final = 200


class Pictures:
    """Uploaded pictures by name, as JPEG files of some 50 KB."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def add(self, upload: bytes) -> str:
        """Keep a picture; return its name.

        Raises:
            UsageError: it is no picture, damaged, or of too many pixels.
        """
        jpeg = shrink_picture(upload)
        name = hashlib.sha256(jpeg).hexdigest()[:16]
        self._kept[name] = jpeg
        self._kept.move_to_end(name)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return name

    def jpeg(self, name: str) -> bytes | None:
        """Return the file of a picture, None if it is not kept."""
        return self._kept.get(name)

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Return a picture: (height, width, 3) uint8 RGB.

        Raises:
            UsageError: it is not kept.
        """
        jpeg = self.jpeg(name)
        if jpeg is None:
            raise UsageError("the picture is no longer kept", hint="drop it on the page again")
        return np.asarray(Image.open(io.BytesIO(jpeg)))


def shrink_picture(upload: bytes) -> bytes:
    """Return a picture as a JPEG file of at most 512 x 512 pixels, upright.

    Raises:
        UsageError: it is no picture of a known format, damaged, or of more than 50 million pixels.
    """
    try:
        small = decode_picture(io.BytesIO(upload), "the upload", side=_SIDE)
    except DataError as error:
        raise UsageError(str(error), hint=error.hint) from error
    return encode_jpeg(Image.fromarray(small), quality=92)
