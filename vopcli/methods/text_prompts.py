"""Text prompts: learned tokens before the words of a text, separate ones in each layer (VoP, section 3.2).

Axes: N texts, L tokens, D text width, P prompts of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vopcli.methods.frame_prompts import PROMPT_STD


class TextPrompts(nn.Module):
    """A LayerHook of the text tower.

    ``prefix`` prompts come after the start token. ``suffix`` prompts, which the paper does not have but
    ModelScope's checkpoints do, come before the last position.
    """

    def __init__(
        self, *, depth: int, layers: Sequence[int], prefix: int, suffix: int = 0, width: int
    ) -> None:
        super().__init__()
        self.depth, self.prefix, self.suffix = depth, prefix, suffix
        self.num_prompts = prefix + suffix
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.table = nn.Parameter(torch.empty(len(layers), prefix + suffix, width))
        nn.init.normal_(self.table, std=PROMPT_STD)

    def before(self, layer: int, tokens: Tensor) -> Tensor:
        """Replace the outputs of the previous layer's prompts by this layer's prompts: to (N, L + P, D)."""
        if layer - 1 in self.rows:
            start, end = tokens[:, :1], tokens[:, -1:]
            words = tokens[:, 1 + self.prefix : tokens.shape[1] - 1 - self.suffix]
        else:
            start, words, end = tokens[:, :1], tokens[:, 1:-1], tokens[:, -1:]
        if layer not in self.rows:
            return torch.cat([start, words, end], dim=1) if layer - 1 in self.rows else tokens
        prompts = self.table[self.rows[layer]].to(tokens.dtype).expand(len(tokens), -1, -1)  # (N, P, D)
        return torch.cat([start, prompts[:, : self.prefix], words, prompts[:, self.prefix :], end], dim=1)

    def num_read(self, layer: int) -> int | None:
        """Return None: all tokens are computed, since a text may end anywhere."""
        return None

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Shift the output of the last layer, so that the tower reads at the end token + prefix + suffix.

        With a suffix this is often a padding position, as in ModelScope's training.
        """
        if layer == self.depth - 1 and layer in self.rows:
            return tokens[:, self.prefix + self.suffix :]
        return tokens
