"""Uploaded pictures: formats, limits, and how many are kept."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.web import client_of, make_site
from vopcli.errors import DataError, UsageError
from vopcli.web.pictures import Pictures, shrink_picture


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_pictures_are_shrunk(form: str) -> None:
    red = encoded(Image.new("RGB", (1200, 600), (200, 30, 30)), form)
    small = Image.open(io.BytesIO(shrink_picture(red, "it")))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (512, 256))
    assert np.abs(np.asarray(small).astype(int) - [200, 30, 30]).max() < 8


def test_a_picture_is_turned_upright_and_transparency_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    turned = shrink_picture(encoded(Image.new("RGB", (60, 20)), "JPEG", exif=exif), "it")
    assert Image.open(io.BytesIO(turned)).size == (20, 60)
    clear = shrink_picture(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"), "it")
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
    with pytest.raises(DataError, match="it has 10000 x 5001 pixels"):
        shrink_picture(bomb, "it")


@pytest.mark.parametrize(
    "upload", [b"", encoded(Image.effect_noise((64, 48), 60), "PNG")[:700], b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
    ids=["empty", "cut", "svg"],
)  # fmt: skip
def test_damaged_and_other_files_are_refused(upload: bytes) -> None:
    with pytest.raises(DataError, match=r"it is (not a picture|damaged)"):
        shrink_picture(upload, "it")


@pytest.mark.slow
def test_a_picture_that_hangs_or_fills_the_memory_is_refused_and_the_server_goes_on(site_index: Path) -> None:
    scans = encoded(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = scans.rindex(b"\xff\xda")  # the last scan, which takes 10 ms each time
    slow = scans[:last] + scans[last:-2] * 20_000 + scans[-2:]
    large = encoded(Image.new("RGBA", (7000, 7000)), "PNG")
    site, _ = make_site(site_index)
    client = client_of(site)
    for limits, upload, problem in (
        (Pictures(seconds=1), slow, "the upload: the decoder stalled"),
        (Pictures(memory_bytes=100 << 20), large, "the upload takes too much memory"),
    ):
        site.pictures = limits
        answer = client.post("/pictures", content=upload)
        assert (answer.status_code, answer.json()["error"]) == (400, problem)
        assert client.get("/api/search?q=x").status_code == 200


def test_the_oldest_pictures_are_dropped() -> None:
    pictures = Pictures(most=1)
    uploads = [encoded(Image.new("RGB", (8, 8), (80 * number, 0, 0)), "PNG") for number in range(2)]
    names = [pictures.add(upload) for upload in uploads]
    assert names[0] != names[1]
    assert pictures.jpeg(names[0]) is None
    assert pictures.pixels(names[1]).shape == (8, 8, 3)
    with pytest.raises(UsageError, match="no longer kept"):
        pictures.pixels(names[0])
