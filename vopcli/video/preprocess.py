"""CLIP's preprocessing of a frame, resize and centre crop, in 8 bits and without torch."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vopcli.config.choices import Resize


def resize_and_crop(
    frame: NDArray[np.uint8], size: int, resize: Resize = Resize.BICUBIC
) -> NDArray[np.uint8]:
    """Resize the short side to ``size`` and crop the central square.

    The resized frame has the sides ``size`` and ``int(size * long / short)``; the crop's margin is half the
    difference, rounded half to even. Bicubic with antialiasing in 8 bits, horizontally and then vertically,
    equal to Pillow within one level. Only the pixels inside the crop are computed.

    Args:
        frame: (height, width, 3) uint8.
        size: side of the square in pixels.
        resize: LEGACY_TENSOR for X-Pool's pixels, see `_resize_without_antialiasing`.

    Returns:
        (size, size, 3) uint8.
    """
    if resize is Resize.LEGACY_TENSOR:
        return _resize_without_antialiasing(frame, size)
    height, width = frame.shape[:2]
    left, right = _kept(width, height, size)
    top, bottom = _kept(height, width, size)
    first_column, last_column = _reach(left, right, width, size)
    first_row, last_row = _reach(top, bottom, height, size)
    part = Image.fromarray(frame[first_row:last_row, first_column:last_column])
    # One axis at a time: each rounds to 8 bits, and Pillow's order of the axes depends on the box.
    across = (left - first_column, 0, right - first_column, part.height)
    part = part.resize((size, part.height), Image.Resampling.BICUBIC, box=across)
    down = (0, top - first_row, size, bottom - first_row)
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC, box=down))


def jpeg_bytes(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Return a (height, width, 3) uint8 frame as a JPEG file of ``quality`` (1 to 100)."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _resize_without_antialiasing(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize and crop like torchvision before 0.17 on float tensors, which X-Pool used.

    Bicubic with a = -0.75 over four pixels, without antialiasing. X-Pool keeps values that overshoot 0 to
    255; here they are clipped, because frames are stored as bytes.
    """
    import cv2  # has the same cubic filter; imported here because it loads slowly

    height, width = frame.shape[:2]
    resized_height, resized_width = (
        size if length <= other else int(size * length / other)
        for length, other in ((height, width), (width, height))
    )
    top, left = (round((length - size) / 2) for length in (resized_height, resized_width))
    pixels: NDArray[Any] = np.asarray(frame, np.float32)
    if min(height, width) != size:  # torchvision returns such a frame as it is
        pixels = cv2.resize(pixels, (resized_width, resized_height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(pixels[top : top + size, left : left + size]), 0, 255).astype(np.uint8)


def _kept(length: int, other: int, size: int) -> tuple[float, float]:
    """Return start and end of the crop along one side of a frame, in pixels of the frame."""
    if length <= other:
        return 0.0, float(length)
    resized = int(size * length / other)
    margin = round((resized - size) / 2)
    return margin * length / resized, (margin + size) * length / resized


def _reach(start: float, end: float, length: int, size: int) -> tuple[int, int]:
    """Return the half-open range of pixels that the filter reads to compute ``start`` to ``end``."""
    support = 2 * max((end - start) / size, 1.0) + 1
    return max(math.floor(start - support), 0), min(math.ceil(end + support), length)
