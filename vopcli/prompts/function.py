"""Function-specific video prompts: deep layers attend over all frames of a video (VoP, section 3.3, "F").

The shallow layers look at each frame alone. Before the split layer a learned embedding tells the frames
apart; from there on a video is one sequence [CLS of each frame, prompts, patches of each frame] through
unchanged layers, and each frame is read from its own CLS.

Axes: B videos, F frames, L tokens of a frame with CLS first, D vision width, P prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vopcli.prompts.generic import PROMPT_STD, FramePrompts


class FunctionPrompts(nn.Module):
    """A LayerHook of the vision tower: ``shallow`` prompts, then joint attention from the split layer on."""

    def __init__(
        self, shallow: FramePrompts, *, depth: int, split_layer: int, prompts: int, width: int
    ) -> None:
        super().__init__()
        self.shallow = shallow
        self.depth, self.split_layer = depth, split_layer
        self.num_read = shallow.frames if split_layer < depth else shallow.num_read
        self.table = nn.Parameter(torch.empty(depth - split_layer, prompts, width))
        self.frame_embedding = nn.Parameter(torch.zeros(shallow.frames, width))
        nn.init.normal_(self.table, std=PROMPT_STD)

    def before(self, layer: int, tokens: Tensor) -> Tensor:
        """Prompt each frame of (B * F, L, D), or, in a deep layer, the video (B, F + P + F * M, D)."""
        if layer < self.split_layer:
            return self.shallow.before(layer, tokens)
        frames = self.shallow.frames
        prompts = self.table[layer - self.split_layer].to(tokens.dtype)  # (P, D)
        if layer > self.split_layer:
            cls_tokens, patches = tokens[:, :frames], tokens[:, frames + len(prompts) :]
        else:
            cls_tokens, patches = self._join(self.shallow.without_prompts(layer, tokens))
        return torch.cat([cls_tokens, prompts.expand(len(cls_tokens), -1, -1), patches], dim=1)

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Give the frames back after the last layer: (B, F + P + F * M, D) to (B * F, 1, D)."""
        if layer < self.split_layer:
            return self.shallow.after(layer, tokens)
        if layer == self.depth - 1:
            return tokens[:, : self.shallow.frames].reshape(-1, 1, tokens.shape[-1])
        return tokens

    def _join(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Split (B * F, L, D) into each video's class tokens (B, F, D) and patches (B, F * (L - 1), D)."""
        frames, width = self.shallow.frames, tokens.shape[-1]
        placed = tokens.reshape(-1, frames, *tokens.shape[1:])  # (B, F, L, D)
        placed = placed + self.frame_embedding.to(tokens.dtype)[:, None]
        return placed[:, :, 0], placed[:, :, 1:].reshape(len(placed), -1, width)
