"""Function-specific video prompts: deep layers attend over all frames of a video (VoP, section 3.3, "F").

The shallow layers look at each frame alone. Before the split layer a learned embedding tells the frames
apart; from there on a video is one sequence [CLS of each frame, patches of each frame, prompts] through
unchanged layers, and each frame is read from its own CLS.

Axes: B videos, F frames, L tokens of a frame with CLS first, D vision width, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vopcli.methods.frame_prompts import PROMPT_STD, FramePrompts


class FunctionPrompts(nn.Module):
    """A LayerHook of the vision tower: ``shallow`` prompts, then joint attention from the split layer on.

    ``layers`` are those of the deep layers, from ``split_layer`` on, that get prompts of the video.
    """

    def __init__(
        self,
        shallow: FramePrompts,
        *,
        depth: int,
        split_layer: int,
        layers: Sequence[int],
        prompts: int,
        width: int,
    ) -> None:
        super().__init__()
        self.shallow = shallow
        self.depth, self.split_layer = depth, split_layer
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.table = nn.Parameter(torch.empty(len(layers), prompts, width))
        self.frame_embedding = nn.Parameter(torch.zeros(shallow.frames, width))
        nn.init.normal_(self.table, std=PROMPT_STD)

    def before(self, layer: int, tokens: Tensor) -> Tensor:
        """Prompt each frame of (B * F, L, D), or, in a deep layer, the video: (B, F + F * M + P, D)."""
        if layer < self.split_layer:
            return self.shallow.before(layer, tokens)
        if layer == self.split_layer:
            tokens = self._join(tokens)
        if layer not in self.rows:
            return tokens
        prompts = self.table[self.rows[layer]].to(tokens.dtype)  # (P, D)
        return torch.cat([tokens, prompts.expand(len(tokens), -1, -1)], dim=1)

    def num_read(self, layer: int) -> int | None:
        """Leave out the prompts, and in the last layer all but the class tokens."""
        if layer < self.split_layer:
            return self.shallow.num_read(layer)
        if layer == self.depth - 1:
            return self.shallow.frames
        return -self.table.shape[1] if layer in self.rows else None

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Give the frames back after the last layer: (B, F, D) to (B * F, 1, D)."""
        if self.split_layer <= layer == self.depth - 1:
            return tokens.reshape(-1, 1, tokens.shape[-1])
        return tokens

    def _join(self, tokens: Tensor) -> Tensor:
        """Put a video's frames (B * F, L, D) in one sequence (B, F + F * (L - 1), D), class tokens first."""
        frames, width = self.shallow.frames, tokens.shape[-1]
        placed = tokens.reshape(-1, frames, *tokens.shape[1:])  # (B, F, L, D)
        placed = placed + self.frame_embedding.to(tokens.dtype)[:, None]
        return torch.cat([placed[:, :, 0], placed[:, :, 1:].reshape(len(placed), -1, width)], dim=1)
