"""Generic video prompts, shared by all frames (VoP, section 3.2), and the hook that inserts prompts.

Axes: B videos, F frames, L tokens with the class token first, D vision width, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, cast

import torch
from torch import Tensor, nn

PROMPT_STD: Final = 0.02  # of the normal distribution that prompts are drawn from (VoP, section 4.1)


class PromptSource(Protocol):
    """A module that provides the prompts of single frames."""

    num_prompts: int

    def __call__(self, row: int, cls_tokens: Tensor) -> Tensor:
        """Map a table row, and the class tokens (B, F, D) that enter the layer, to prompts (B, F, P, D)."""


class GenericPrompts(nn.Module):
    """A PromptSource: one set of prompts for each layer, shared by all frames."""

    def __init__(self, *, num_layers: int, prompts: int, width: int) -> None:
        super().__init__()
        self.num_prompts = prompts
        self.table = nn.Parameter(torch.empty(num_layers, prompts, width))
        nn.init.normal_(self.table, std=PROMPT_STD)

    def forward(self, row: int, cls_tokens: Tensor) -> Tensor:
        """Return the prompts of table row ``row`` for ``cls_tokens`` (B, F, D): (B, F, P, D)."""
        batch, frames, _ = cls_tokens.shape
        return self.table[row].to(cls_tokens.dtype).expand(batch, frames, -1, -1)


class FramePrompts(nn.Module):
    """A LayerHook of the vision tower: inserts the prompts of several sources into every frame.

    The paper inserts them after the class token. Here they come last, which is equivalent, since attention in
    this tower ignores order. A layer can then skip their outputs, which are not used.
    """

    def __init__(
        self,
        sources: Sequence[PromptSource],
        *,
        depth: int,
        layers: Sequence[int],
        frames: int,
        pools_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.sources = nn.ModuleList(cast("Sequence[nn.Module]", sources))
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.depth, self.frames, self.pools_tokens = depth, frames, pools_tokens
        self.num_prompts = sum(source.num_prompts for source in sources)

    def before(self, layer: int, tokens: Tensor) -> Tensor:
        """Add this layer's prompts: (B * F, L, D) to (B * F, L + P, D)."""
        if layer not in self.rows:
            return tokens
        cls_tokens = tokens[:, 0].view(-1, self.frames, tokens.shape[-1])  # (B, F, D)
        prompts = [source(self.rows[layer], cls_tokens).flatten(0, 1) for source in self.sources]
        return torch.cat([tokens, *prompts], dim=1)

    def num_read(self, layer: int) -> int | None:
        """Skip the prompts, and in the last layer all tokens but the class token if it alone is read."""
        if layer == self.depth - 1 and not self.pools_tokens:
            return 1
        return -self.num_prompts if layer in self.rows else None

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Return the tokens unchanged."""
        return tokens
