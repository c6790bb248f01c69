"""Random crops and flips of whole videos, on the device (benchmarks: X-Pool's training transform).

Axes: B videos, F frames, S side of the frames in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SCALES = (0.5, 1.0)  # of the area
RATIOS = (3 / 4, 4 / 3)


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Crop each video to a random 0.5 to 1 of its area and flip it with probability 0.5, all frames alike.

    Args:
        pixels: (B, F, 3, S, S).
        generator: on the CPU, source of all randomness.

    Returns:
        (B, F, 3, S, S), bilinear.
    """
    batch, frames, channels, side, _ = pixels.shape
    transforms = torch.stack([_draw(generator) for _ in range(batch)])  # (B, 2, 3)
    grid = functional.affine_grid(transforms.to(pixels.device), [batch, 1, side, side], align_corners=False)
    stacked = pixels.reshape(batch, frames * channels, side, side)
    sampled = functional.grid_sample(
        stacked.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.to(pixels.dtype).view_as(pixels)


def skip_draws(generator: torch.Generator, count: int) -> None:
    """Skip the random numbers for ``count`` videos that another process augments."""
    for _ in range(count):
        _draw(generator)


def _draw(generator: torch.Generator) -> Tensor:
    """Draw a (2, 3) affine map from positions in the crop to positions in the frame, both in [-1, 1]."""
    fraction, ratio, across, down, turn = torch.rand(5, generator=generator).tolist()
    area = SCALES[0] + (SCALES[1] - SCALES[0]) * fraction
    log_ratio = math.log(RATIOS[0]) + (math.log(RATIOS[1]) - math.log(RATIOS[0])) * ratio
    width = min(1.0, math.sqrt(area * math.exp(log_ratio)))
    height = min(1.0, math.sqrt(area / math.exp(log_ratio)))
    flip = -1.0 if turn < 0.5 else 1.0
    left, top = (1 - width) * (2 * across - 1), (1 - height) * (2 * down - 1)
    return torch.tensor([[width * flip, 0.0, left], [0.0, height, top]])
