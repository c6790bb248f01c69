"""Make the thumbnails of an index from the frames that the model sees.

Axes: F frames of a video, S side of a frame in pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vopcli.index.thumbnails import MAX_JPEG_BYTES, SLOT_BYTES, pack_thumbnail

_SIDE: Final = 128  # pixels
_QUALITIES: Final = (75, 60, 45, 30, 15)  # the first that fits; noise takes the last one, at half the size


def make_thumbnails(frames: NDArray[np.uint8], num_real: int) -> NDArray[np.uint8]:
    """Return the slots (F, SLOT_BYTES) of frames (F, S, S, 3) RGB; those from ``num_real`` on stay empty."""
    slots = np.zeros((len(frames), SLOT_BYTES), np.uint8)
    for slot, frame in zip(slots, frames[:num_real], strict=False):
        slot[:] = pack_thumbnail(encode_thumbnail(frame))
    return slots


def encode_thumbnail(frame: NDArray[np.uint8]) -> bytes:
    """Return a frame (S, S, 3) RGB as a JPEG file of at most 128 pixels that fits into a slot."""
    side = min(_SIDE, len(frame))
    while True:
        small = (
            cv2.resize(frame, (side, side), interpolation=cv2.INTER_LINEAR) if side < len(frame) else frame
        )
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        for quality in _QUALITIES:
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(jpeg) <= MAX_JPEG_BYTES:
                return jpeg.tobytes()
        side //= 2
