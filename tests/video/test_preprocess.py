from __future__ import annotations

import io

import numpy as np
import open_clip
import pytest
import torch
import torchvision.transforms.functional as reference
from numpy.typing import NDArray
from PIL import Image

from vopcli.config.choices import Fit, Resize
from vopcli.video.preprocess import fit_frame, jpeg_bytes

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
@pytest.mark.parametrize("resize", [Resize.BICUBIC, Resize.BILINEAR])
def test_same_as_clips_preprocessing_on_a_pillow_image(
    height: int, width: int, size: int, resize: Resize
) -> None:
    frame = natural(height, width)
    image = Image.fromarray(frame)
    resized = reference.resize(image, [size], reference.InterpolationMode(resize.value))
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    expected = np.asarray(resized.crop((left, top, left + size, top + size)))

    actual = fit_frame(frame, size, resize)

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

    np.testing.assert_allclose(fit_frame(frame, 64), kept.permute(1, 2, 0).numpy(), atol=2)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [64, 45])
@pytest.mark.parametrize("resize", Resize)
def test_squashed_frames_show_the_whole_frame(height: int, width: int, size: int, resize: Resize) -> None:
    frame = natural(height, width)
    actual = fit_frame(frame, size, resize, Fit.SQUASH)
    assert (actual.shape, actual.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(actual, resized_as_a_whole(frame, size, size, resize), atol=1)


@pytest.mark.parametrize(("height", "width"), [*SHAPES, (2, 900), (900, 2)])
@pytest.mark.parametrize("size", [64, 45])
@pytest.mark.parametrize("resize", Resize)
def test_padded_frames_are_whole_and_centred_on_the_mean_colour(
    height: int, width: int, size: int, resize: Resize
) -> None:
    frame = natural(height, width)
    long = max(height, width)
    tall, wide = max(size * height // long, 1), max(size * width // long, 1)
    inner = resized_as_a_whole(frame, tall, wide, resize)
    above, before = (size - tall) // 2, (size - wide) // 2
    expected = np.empty((size, size, 3), np.float32)
    expected[:] = np.rint(255 * np.asarray(open_clip.OPENAI_DATASET_MEAN))
    expected[above : above + tall, before : before + wide] = inner

    actual = fit_frame(frame, size, resize, Fit.PAD)

    assert (actual.shape, actual.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(actual, expected, atol=1)


def resized_as_a_whole(
    frame: NDArray[np.uint8], height: int, width: int, resize: Resize
) -> NDArray[np.float32]:
    """By Pillow with antialiasing, across and then down; or by torchvision without."""
    if resize is not Resize.LEGACY_TENSOR:
        resampling = Image.Resampling[resize.name]
        across = Image.fromarray(frame).resize((width, len(frame)), resampling)
        return np.asarray(across.resize((width, height), resampling), np.float32)
    tensor = torch.from_numpy(frame).movedim(-1, 0) / 255
    bicubic = reference.InterpolationMode.BICUBIC
    resized = reference.resize(tensor, [height, width], bicubic, antialias=False)
    return (resized.movedim(0, -1).numpy() * 255).clip(0, 255)


def test_a_frame_that_is_not_contiguous() -> None:
    frame = natural(80, 120)
    np.testing.assert_array_equal(
        fit_frame(frame[::-1, ::-1], 32), fit_frame(np.ascontiguousarray(frame[::-1, ::-1]), 32)
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

    actual = fit_frame(frame, size, Resize.LEGACY_TENSOR)

    assert (actual.shape, actual.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(actual, expected.clip(0, 255), atol=0.51)
    if min(height, width) > 2 * size:
        assert np.abs(actual.astype(int) - fit_frame(frame, size)).max() > 20
