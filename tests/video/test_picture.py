"""Pictures as Pillow users write them: every mode, turned, transparent, animated, damaged, hostile."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vopcli.errors import DataError, FileError
from vopcli.video.picture import read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save(path: Path, picture: Image.Image, **options: object) -> NDArray[np.uint8]:
    picture.save(path, **options)
    return read_picture(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_pixels_come_back(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(save(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS), **options), PIXELS)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    """Orientation 6: the camera was held so that the first row is the right side."""
    exif = Image.Exif()
    exif[274] = 6
    lying = Image.fromarray(np.rot90(PIXELS))
    assert np.array_equal(save(tmp_path / "a.png", lying, exif=exif), PIXELS)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    alpha = np.zeros((6, 9, 1), np.uint8)
    alpha[:3] = 255
    found = save(tmp_path / "a.png", Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)))
    assert np.array_equal(found[:3], PIXELS[:3])
    assert (found[3:] == 255).all()
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert save(tmp_path / "p.png", palette, transparency=1).tolist() == [[[255] * 3] * 2]


def test_grey_of_16_bits_and_other_modes(tmp_path: Path) -> None:
    grey = np.array([[0, 255, 256, 0x8000, 65535]], np.uint16)
    found = save(tmp_path / "a.png", Image.fromarray(grey))
    assert found[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert found.shape == (1, 5, 3)
    for mode in ("1", "L", "LA", "CMYK", "YCbCr"):
        found = save(tmp_path / f"{mode}.tiff", Image.new(mode, (3, 2)))
        assert (found.shape, found.dtype) == ((2, 3, 3), np.uint8)


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert (save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:]) == [255, 0, 0]).all()


def png_of(width: int, height: int) -> bytes:
    """A PNG file that states a size and holds the beginning of its pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a picture"),
        (b"hello", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n", "is not a picture"),
        (png_of(5000, 10_001), "has 5000 x 10001 pixels, more than 50,000,000"),
        (png_of(2**30, 2**30), "is not a picture"),  # more than Pillow takes
        (png_of(50, 50)[:50], "is damaged"),
    ],
)
def test_others_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_picture(tmp_path / "a.png")
    assert caught.value.hint


def test_a_cut_or_changed_file_is_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for suffix in ("jpg", "png", "gif", "webp", "bmp", "tiff"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(PIXELS.repeat(4, 0)).save(path)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            changed = content[: rng.integers(1, len(content) + 1)].copy()
            changed[rng.integers(len(changed), size=3)] = rng.integers(256, size=3)
            path.write_bytes(changed.tobytes())
            with contextlib.suppress(DataError):
                assert read_picture(path).ndim == 3


def test_files_that_are_missing_folders_or_too_large(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(FileError):
            read_picture(path)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate((64 << 20) + (1 << 20))
    with pytest.raises(DataError, match="has 65 MiB, more than the 64 MiB"):
        read_picture(tmp_path / "large.png")
