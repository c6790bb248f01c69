"""Resize and crop a frame as CLIP's preprocessing does, in 8 bits and without torch."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_and_crop(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring the short side to ``size`` and keep the middle square.

    The whole frame would become ``size`` on its short side and ``int(size * long / short)`` on the long one;
    the crop's margin is half the rest, rounded half to even. Bicubic with antialiasing in 8 bits, across and
    then down, equal to Pillow's within one level. Only what the crop keeps is computed.

    Args:
        frame: (height, width, 3) uint8.
        size: side of the square in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = frame.shape[:2]
    left, right = _kept(width, height, size)
    top, bottom = _kept(height, width, size)
    first_column, last_column = _reach(left, right, width, size)
    first_row, last_row = _reach(top, bottom, height, size)
    part = Image.fromarray(frame[first_row:last_row, first_column:last_column])
    # One axis at a time: each rounds to 8 bits, and Pillow's order of the two depends on the box.
    across = (left - first_column, 0, right - first_column, part.height)
    part = part.resize((size, part.height), Image.Resampling.BICUBIC, box=across)
    down = (0, top - first_row, size, bottom - first_row)
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC, box=down))


def jpeg_bytes(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Return a (height, width, 3) uint8 frame as a JPEG file of ``quality`` (1 to 100)."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _kept(length: int, other: int, size: int) -> tuple[float, float]:
    """Return where the square begins and ends along a side of a frame, in pixels of the frame."""
    if length <= other:
        return 0.0, float(length)
    resized = int(size * length / other)
    margin = round((resized - size) / 2)
    return margin * length / resized, (margin + size) * length / resized


def _reach(start: float, end: float, length: int, size: int) -> tuple[int, int]:
    """Return the half-open range of pixels that the filter needs for those from ``start`` to ``end``."""
    support = 2 * max((end - start) / size, 1.0) + 1
    return max(math.floor(start - support), 0), min(math.ceil(end + support), length)
