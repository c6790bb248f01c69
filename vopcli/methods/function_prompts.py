"""Function-specific video prompts: deep layers attend over all frames of a video (VoP, section 3.3, "F").

Shallow layers attend within each frame. At the split layer a learned frame embedding is added; from there on
a video is one sequence [CLS of each frame, patches of each frame, prompts] for the unchanged layers, and each
frame is read at its own CLS, or pooled from its own tokens.

Axes: B videos, F frames, L tokens of a frame with CLS first, D vision width, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vopcli.methods.frame_prompts import PROMPT_STD, FramePrompts


class FunctionPrompts(nn.Module):
    """A LayerHook of the vision tower: ``shallow`` prompts, then joint attention from the split layer on.

    ``layers`` are the layers from ``split_layer`` on that get prompts, shared by the frames of a video.
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
        """Add prompts: to each frame (B * F, L, D), or in deep layers to the video (B, F * L + P, D)."""
        if layer < self.split_layer:
            return self.shallow.before(layer, tokens)
        if layer == self.split_layer:
            tokens = self._join(tokens)
        if layer not in self.rows:
            return tokens
        prompts = self.table[self.rows[layer]].to(tokens.dtype)  # (P, D)
        return torch.cat([tokens, prompts.expand(len(tokens), -1, -1)], dim=1)

    def num_read(self, layer: int) -> int | None:
        """Skip the prompts, and in the last layer all tokens but the class tokens if they alone are read."""
        if layer < self.split_layer:
            return self.shallow.num_read(layer)
        if layer == self.depth - 1 and not self.shallow.pools_tokens:
            return self.shallow.frames
        return -self.table.shape[1] if layer in self.rows else None

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Split a video into its frames after the last layer: to (B * F, L, D), or class tokens alone."""
        if self.split_layer <= layer == self.depth - 1:
            frames = self.shallow.frames
            patches = tokens[:, frames:].unflatten(1, (frames, tokens.shape[1] // frames - 1))
            return torch.cat([tokens[:, :frames, None], patches], dim=2).flatten(0, 1)
        return tokens

    def _join(self, tokens: Tensor) -> Tensor:
        """Join the frames (B * F, L, D) of a video in one sequence (B, F * L, D), class tokens first."""
        frames, width = self.shallow.frames, tokens.shape[-1]
        embedded = tokens.reshape(-1, frames, *tokens.shape[1:])  # (B, F, L, D)
        embedded = embedded + self.frame_embedding.to(tokens.dtype)[:, None]
        return torch.cat([embedded[:, :, 0], embedded[:, :, 1:].reshape(len(embedded), -1, width)], dim=1)
