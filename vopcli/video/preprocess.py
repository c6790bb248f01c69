"""CLIP's preprocessing of a frame: resize it to a square, in 8 bits and without torch."""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vopcli.config.choices import Fit, Resize

_FILTERS: Final = {Resize.BICUBIC: Image.Resampling.BICUBIC, Resize.BILINEAR: Image.Resampling.BILINEAR}
# Of CLIP's training images: zeros for the model. It finds more objects in frames padded so than with black.
_MEAN_COLOUR: Final = (123, 117, 104)


def fit_frame(
    frame: NDArray[np.uint8], size: int, resize: Resize = Resize.BICUBIC, fit: Fit = Fit.CROP
) -> NDArray[np.uint8]:
    """Resize a frame to a square, by cropping, squashing or padding.

    "crop" resizes the short side to ``size``, the long one to ``int(size * long / short)``, and keeps the
    central square, whose margin is half the difference, rounded half to even. "squash" resizes both sides to
    ``size``. "pad" resizes the long side to ``size`` and centres the frame on grey. Bicubic or bilinear with
    antialiasing in 8 bits, horizontally and then vertically, equal to Pillow within one level. Only the
    pixels inside the crop are computed.

    Args:
        frame: (height, width, 3) uint8.
        size: side of the square in pixels.
        resize: resampling; LEGACY_TENSOR for X-Pool's pixels, see `_resize_without_antialiasing`.
        fit: how a frame becomes a square.

    Returns:
        (size, size, 3) uint8.
    """
    resized = _resized_shape(frame.shape[:2], size, fit)
    if resize is Resize.LEGACY_TENSOR:
        inner = _resize_without_antialiasing(frame, resized, size)
    else:
        inner = _resize(frame, resized, size, _FILTERS[resize])
    if inner.shape[:2] == (size, size):
        return inner
    square = np.full((size, size, 3), _MEAN_COLOUR, np.uint8)
    height, width = inner.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = inner
    return square


def jpeg_bytes(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Return a (height, width, 3) uint8 frame as a JPEG file of ``quality`` (1 to 100)."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _resized_shape(shape: tuple[int, int], size: int, fit: Fit) -> tuple[int, int]:
    """Return height and width of a resized frame before the crop."""
    if fit is Fit.SQUASH:
        return size, size
    reference = min(shape) if fit is Fit.CROP else max(shape)
    height, width = (max(int(size * length / reference), 1) for length in shape)
    return height, width


def _resize(
    frame: NDArray[np.uint8], resized: tuple[int, int], size: int, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """Resize to (height, width) with antialiasing, and crop sides longer than ``size``."""
    height, width = (min(length, size) for length in resized)
    top, bottom = _kept(frame.shape[0], resized[0], size)
    left, right = _kept(frame.shape[1], resized[1], size)
    first_row, last_row = _reach(top, bottom, frame.shape[0], height)
    first_column, last_column = _reach(left, right, frame.shape[1], width)
    part = Image.fromarray(frame[first_row:last_row, first_column:last_column])
    # One axis at a time: each rounds to 8 bits, and Pillow's order of the axes depends on the box.
    across = (left - first_column, 0, right - first_column, part.height)
    part = part.resize((width, part.height), resampling, box=across)
    down = (0, top - first_row, width, bottom - first_row)
    return np.asarray(part.resize((width, height), resampling, box=down))


def _resize_without_antialiasing(
    frame: NDArray[np.uint8], resized: tuple[int, int], size: int
) -> NDArray[np.uint8]:
    """Resize and crop like torchvision before 0.17 on float tensors, which X-Pool used.

    Bicubic with a = -0.75 over four pixels, without antialiasing. X-Pool keeps values that overshoot 0 to
    255; here they are clipped, because frames are stored as bytes.
    """
    import cv2  # has the same cubic filter; imported here because it loads slowly

    pixels: NDArray[Any] = np.asarray(frame, np.float32)
    if frame.shape[:2] != resized:  # torchvision returns such a frame as it is
        pixels = cv2.resize(pixels, resized[::-1], interpolation=cv2.INTER_CUBIC)
    top, left = (max(round((length - size) / 2), 0) for length in resized)
    return np.clip(np.rint(pixels[top : top + size, left : left + size]), 0, 255).astype(np.uint8)


def _kept(length: int, resized: int, size: int) -> tuple[float, float]:
    """Return start and end of the crop along one side of a frame, in pixels of the frame."""
    kept = min(resized, size)
    margin = round((resized - kept) / 2)
    return margin * length / resized, (margin + kept) * length / resized


def _reach(start: float, end: float, length: int, size: int) -> tuple[int, int]:
    """Return a half-open range of pixels with all that the filters read to compute ``start`` to ``end``."""
    support = 2 * max((end - start) / size, 1.0) + 1
    return max(math.floor(start - support), 0), min(math.ceil(end + support), length)
