"""Rotary position embeddings of patches in two dimensions (RoFormer, section 3.2; Perception Encoder).

Two adjacent channels of a head are one complex number, which is multiplied by exp(i * rate * position). The
first half of the pairs rotates with the column of the patch, the other half with its row.

Axes: L tokens, K head width.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_LONGEST_WAVE: Final = 10_000.0  # in patches / 2 pi


def patch_rotations(grid: int, head_width: int, device: torch.device) -> Tensor:
    """Return rotations (1 + grid^2, K / 2) complex64: 1 for the class token; patches count from 1."""
    rates = _LONGEST_WAVE ** (torch.arange(head_width // 4, device=device) * (-4 / head_width))
    angles = torch.arange(1, grid + 1, device=device)[:, None] * rates  # (grid, K / 4)
    by_column, by_row = angles.repeat(grid, 1), angles.repeat_interleave(grid, dim=0)  # (grid^2, K / 4)
    patches = torch.cat([by_column, by_row], dim=1)
    rotations = torch.polar(torch.ones_like(patches), patches)
    return torch.cat([torch.ones_like(rotations[:1]), rotations])


def sequence_rotations(rotations: Tensor, *, frames: int, length: int) -> Tensor:
    """Repeat the rotations of one frame for a sequence: (``length``, K / 2).

    A sequence holds the class token of each frame, the patches of each frame, then prompts, which are not
    rotated.
    """
    whole = torch.cat([rotations[:1].repeat(frames, 1), rotations[1:].repeat(frames, 1)])
    return functional.pad(whole, (0, 0, 0, length - len(whole)), value=1.0)


def rotate(heads: Tensor, rotations: Tensor) -> Tensor:
    """Rotate queries or keys (N, H, R, K) by the first R of the rotations (L, K / 2)."""
    wide = heads.to(torch.promote_types(heads.dtype, torch.float32))
    # one complex product takes a tenth of the time of the four real ones on a CPU
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * rotations[: heads.shape[-2]]
    return torch.view_as_real(turned).flatten(-2).to(heads.dtype)
