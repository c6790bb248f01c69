"""Position-specific video prompts, one set for each position of a frame (VoP, section 3.3, "P").

Axes: B videos, F frames, D vision width, P prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vopcli.clip.model import Clip
from vopcli.config.schema import TuningConfig
from vopcli.methods.frame_prompts import PROMPT_STD
from vopcli.methods.prompts import build_prompts, generic_source


class PositionPrompts(nn.Module):
    """A PromptSource: one set of prompts for each layer and frame."""

    def __init__(self, *, num_layers: int, frames: int, prompts: int, width: int) -> None:
        super().__init__()
        self.num_prompts = prompts
        self.table = nn.Parameter(torch.empty(num_layers, frames, prompts, width))
        nn.init.normal_(self.table, std=PROMPT_STD)

    def forward(self, row: int, cls_tokens: Tensor) -> Tensor:
        """Return the prompts (B, F, P, D) of table row ``row``; those of frame j are ``table[row, j]``."""
        return self.table[row].to(cls_tokens.dtype).expand(len(cls_tokens), -1, -1, -1)


def build(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Build generic prompts, and ``tuning.specific_length`` prompts for each position of a frame."""
    specific = tuning.specific_length

    def source(width: int, num_layers: int) -> PositionPrompts:
        return PositionPrompts(num_layers=num_layers, frames=num_frames, prompts=specific, width=width)

    return build_prompts(tuning, clip, num_frames, [generic_source(tuning.prompt_length - specific), source])
