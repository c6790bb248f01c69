"""A picture file as an RGB frame, upright and with bounded memory; NumPy and Pillow only."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vopcli.errors import DataError, FileError

MAX_FILE_BYTES: Final = 64 << 20
MAX_PIXELS: Final = 50_000_000  # decoded, 3 to 4 bytes each
# Pillow has further formats; that of PostScript runs a program
_FORMATS: Final = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
_DAMAGES: Final = (  # that Pillow's readers raise
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_HINT: Final = "give a JPEG, PNG, WebP, GIF, BMP or TIFF file"


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture, turned upright by its EXIF data, transparent parts white; the first of an animation.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        FileError: `path` cannot be read.
        DataError: `path` is not a picture, damaged, larger than 64 MiB or of more than 50 million pixels.
    """
    try:
        with path.open("rb") as file:
            if (size := path.stat().st_size) > MAX_FILE_BYTES:
                raise DataError(
                    f"{path} has {size >> 20} MiB, more than the {MAX_FILE_BYTES >> 20} MiB of a picture",
                    hint="save it in a smaller size; for a video use --video",
                )
            file.read(1)  # fails here for a folder
            file.seek(0)
            return decode_picture(file, str(path))
    except OSError as error:
        raise FileError(path, error) from error


def decode_picture(file: BinaryIO, name: str, *, side: int | None = None) -> NDArray[np.uint8]:
    """Decode a picture like `read_picture`.

    Args:
        file: its content.
        name: what messages call it.
        side: shrink a larger picture to this many pixels on its longer side.

    Raises:
        DataError: it is not a picture, damaged, or of more than 50 million pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata and large sizes, which are checked below
        try:
            picture = Image.open(file, formats=_open_formats())
        except _DAMAGES as error:
            raise DataError(f"{name} is not a picture", hint=_HINT) from error
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"{name} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}",
                    hint="save it in a smaller size",
                )
            try:
                if side is None:
                    return _to_rgb(picture)
                picture.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
                small = Image.fromarray(_to_rgb(picture))
                small.thumbnail((side, side))
                return np.asarray(small)
            except _DAMAGES as error:
                raise DataError(f"{name} is damaged: {error}", hint="save it again") from error


def _open_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.asarray(upright.convert("RGB"))
