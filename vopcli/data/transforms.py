"""Resize and crop a frame as CLIP's preprocessing does, in 8 bits and without torch."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_and_crop(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring the short side to ``size`` and keep the middle square.

    Bicubic with antialiasing in 8 bits, equal to Pillow's within one level. Only what the crop keeps is
    computed.

    Args:
        frame: (height, width, 3) uint8.
        size: side of the square in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = frame.shape[:2]
    box = crop_box(width, height, size)
    if box == (0, 0, size, size) and (height, width) == (size, size):
        return np.ascontiguousarray(frame)
    resized = Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def jpeg_bytes(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Return a (height, width, 3) uint8 frame as a JPEG file of ``quality`` (1 to 100)."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def crop_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """Return the part of a frame that ends up in the square: left, top, right, bottom in source pixels.

    The whole frame would become ``size`` on its short side and ``int(size * long / short)`` on the long one;
    the crop's margin is half the rest, rounded half to even.
    """
    short, long = min(width, height), max(width, height)
    resized_long = int(size * long / short)
    margin = round((resized_long - size) / 2)
    first, last = margin * long / resized_long, (margin + size) * long / resized_long
    return (first, 0, last, height) if width > height else (0, first, width, last)
