"""Uploaded pictures: formats, limits, and how many are kept."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vopcli.errors import UsageError
from vopcli.web.pictures import Pictures, shrink_picture


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_pictures_are_shrunk(form: str) -> None:
    red = encoded(Image.new("RGB", (1200, 600), (200, 30, 30)), form)
    small = Image.open(io.BytesIO(shrink_picture(red)))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (512, 256))
    assert np.abs(np.asarray(small).astype(int) - [200, 30, 30]).max() < 8


def test_a_picture_is_turned_upright_and_transparency_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    turned = shrink_picture(encoded(Image.new("RGB", (60, 20)), "JPEG", exif=exif))
    assert Image.open(io.BytesIO(turned)).size == (20, 60)
    clear = shrink_picture(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))
    assert np.asarray(Image.open(io.BytesIO(clear))).min() > 250


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 5_001, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UsageError, match="10000 x 5001"):
        shrink_picture(bomb)


def test_the_oldest_pictures_are_dropped() -> None:
    pictures = Pictures()
    uploads = [
        encoded(Image.new("RGB", (8, 8), (number % 16 * 16, number, 0)), "PNG") for number in range(202)
    ]
    names = [pictures.add(upload) for upload in uploads]
    assert len(set(names)) == 202
    assert pictures.jpeg(names[1]) is None
    assert pictures.pixels(names[2]).shape == (8, 8, 3)
    with pytest.raises(UsageError, match="no longer kept"):
        pictures.pixels(names[1])
