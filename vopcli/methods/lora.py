"""LoRA+P: low-rank changes of both towers' attention, and video prompts by the frame's position.

The matrix W of the queries, keys and values of a layer becomes W + Up Down (LoRA, Hu et al., 2022). Up starts
at zero, so that a fresh change has no effect. A trained model has the products added to its matrices.

Axes: N sequences, L tokens, D tower width, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

from torch import Tensor, nn

from vopcli.clip.model import Clip
from vopcli.clip.transformer import Block, Transformer
from vopcli.config.choices import Sides
from vopcli.config.schema import TuningConfig
from vopcli.methods.position_prompts import PositionPrompts
from vopcli.methods.prompts import build_prompts

RANK: Final = 4
NUM_PROMPTS: Final = 2  # of each frame in a layer


class LowRankChange(nn.Module):
    """A ProjectionChange of a low rank R."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, RANK, bias=False)
        self.up = nn.Linear(RANK, 3 * width, bias=False)
        nn.init.normal_(self.down.weight, std=width**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor, rows: slice) -> Tensor:
        """Map (N, L, D) by ``rows`` of the change, in the dtype of the input."""
        reduced = self.down(tokens.to(self.down.weight.dtype))  # (N, L, R)
        return nn.functional.linear(reduced, self.up.weight[rows]).to(tokens.dtype)

    def matrix(self) -> Tensor:
        """Return the change (3 D, D)."""
        return self.up.weight @ self.down.weight


def build(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Build a change for every layer of both towers, and prompts for the layers of the vision tower."""

    def source(width: int, num_layers: int) -> PositionPrompts:
        return PositionPrompts(num_layers=num_layers, frames=num_frames, prompts=NUM_PROMPTS, width=width)

    return {
        **build_prompts(replace(tuning, sides=Sides.VISUAL), clip, num_frames, [source]),
        "text_adapters": attach_changes(clip.transformer),
        "vision_adapters": attach_changes(clip.visual.transformer),
    }


def attach_changes(transformer: Transformer) -> nn.ModuleList:
    """Attach a change to the attention of every layer; return them in layer order."""
    changes = nn.ModuleList()
    for block in cast("Sequence[Block]", transformer.resblocks):
        change = LowRankChange(width=block.attn.in_proj_weight.shape[1])
        block.attn.changes = (change,)  # in a tuple: a module would become a part of the backbone
        changes.append(change)
    return changes
