"""What tests of decoding share: which frames a sampling takes, told by the numbers drawn in them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.videos import (
    drawn_number,
)
from vopcli.video.collect import SampledFrames
from vopcli.video.sampling import Sampling

SIZE = 64
# What two FFmpeg versions may differ by: rounding in the inverse transforms of old codecs.
LEVELS = 3
UNIFORM = Sampling("uniform", 12)
# Frames are counted as they come out of the decoder: there is nothing else to tell them by.
REORDERED_WITHOUT_TIMES = {"raw-stream.h264", "mpeg4-b.avi", "h264.avi", "xvid.avi"}
# What the packets promise is not what the decoder gives.
DAMAGED = {"zero-tail.mp4", "truncated.mp4", "truncated.ts", "truncated.webm", "no-keyframe-table.mp4"}


def xpool_indices(num_frames: int, num_presentable: int) -> list[int]:
    """X-Pool's own formula: segment bounds by linspace and truncation, then the middles."""
    bounds = np.linspace(0, num_presentable, min(num_frames, num_presentable) + 1).astype(int)
    return [int(start + end - 1) // 2 for start, end in itertools.pairwise(bounds)]


def numbers(sampled: SampledFrames) -> list[int]:
    """The numbers drawn in the frames that are no repeats."""
    return [drawn_number(frame) for frame in sampled.frames[: sampled.num_real]]


def pillow_square(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """CLIP's preprocessing, by Pillow, the whole frame before the crop."""
    height, width = frame.shape[:2]
    short, long = min(width, height), max(width, height)
    wide, tall = (int(SIZE * long / short), SIZE) if width > height else (SIZE, int(SIZE * long / short))
    left, top = round((wide - SIZE) / 2), round((tall - SIZE) / 2)
    across = Image.fromarray(frame).resize((wide, height), Image.Resampling.BICUBIC)
    resized = across.resize((wide, tall), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))
