from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from numpy.typing import NDArray
from PIL import Image

from vopcli.config.choices import Resize
from vopcli.video.preprocess import jpeg_bytes, resize_and_crop

# Wider and taller, smaller and larger than the square, margins that halve to .5 on an even and on an odd
# number, and a side that needs no resizing.
SHAPES = [
    (240, 426),
    (426, 240),
    (720, 1280),
    (131, 97),
    (97, 131),
    (64, 64),
    (65, 64),
    (64, 67),
    (50, 40),
    (1, 1),
]


def natural(height: int, width: int) -> NDArray[np.uint8]:
    """A picture with slopes and hard edges."""
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 7 + columns, columns * 3, (rows // 9 + columns // 5) % 2 * 255]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [64, 45])
def test_same_as_clips_preprocessing_on_a_pillow_image(height: int, width: int, size: int) -> None:
    frame = natural(height, width)
    image = Image.fromarray(frame)
    resized = reference.resize(image, [size], reference.InterpolationMode.BICUBIC)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    expected = np.asarray(resized.crop((left, top, left + size, top + size)))

    actual = resize_and_crop(frame, size)

    assert (actual.shape, actual.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(actual, expected, atol=1)
    if min(height, width) > 2:
        shifted = np.roll(expected, 1, axis=int(width > height)).astype(int)
        assert np.abs(actual.astype(int) - shifted).max() > 1


@pytest.mark.parametrize(("height", "width"), SHAPES[:5])
def test_same_as_torch_in_8_bits(height: int, width: int) -> None:
    frame = natural(height, width)
    short, long = sorted((height, width))
    long = int(64 * long / short)
    shape = (64, long) if width > height else (long, 64)
    channels_first = torch.from_numpy(frame).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(channels_first, shape, mode="bicubic", antialias=True)[0]
    margin = round((long - 64) / 2)
    kept = resized[:, :, margin : margin + 64] if width > height else resized[:, margin : margin + 64]

    np.testing.assert_allclose(resize_and_crop(frame, 64), kept.permute(1, 2, 0).numpy(), atol=2)


def test_a_frame_that_is_not_contiguous() -> None:
    frame = natural(80, 120)
    np.testing.assert_array_equal(
        resize_and_crop(frame[::-1, ::-1], 32), resize_and_crop(np.ascontiguousarray(frame[::-1, ::-1]), 32)
    )


def test_jpeg_can_be_read_back() -> None:
    frame = natural(64, 64) // 2 + 60
    frame[:] = frame.mean(axis=(0, 1))  # JPEG keeps a flat colour
    read = np.asarray(Image.open(io.BytesIO(jpeg_bytes(frame, 95))))
    np.testing.assert_allclose(read, frame, atol=2)
    assert len(jpeg_bytes(natural(64, 64), 30)) < len(jpeg_bytes(natural(64, 64), 95))


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [64, 45])
def test_the_legacy_way_is_that_of_float_tensors_without_antialiasing(
    height: int, width: int, size: int
) -> None:
    frame = natural(height, width)
    tensor = torch.from_numpy(frame).movedim(-1, 0) / 255
    resized = reference.resize(tensor, [size], reference.InterpolationMode.BICUBIC, antialias=False)
    expected = reference.center_crop(resized, [size]).movedim(0, -1).numpy() * 255

    actual = resize_and_crop(frame, size, Resize.LEGACY_TENSOR)

    assert (actual.shape, actual.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(actual, expected.clip(0, 255), atol=0.51)
    if min(height, width) > 2 * size:
        assert np.abs(actual.astype(int) - resize_and_crop(frame, size)).max() > 20
