"""Attention pooling over all tokens of an image (Perception Encoder, section 2.1).

Axes: N images, L tokens, D tower width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vopcli.clip.shape import POOL_HEADS
from vopcli.clip.transformer import FeedForward, LayerNorm, SelfAttention
from vopcli.config.choices import Activation


class AttentionPool(nn.Module):
    """A learned query that attends to all tokens, then a feed-forward network; with Meta's tensor names."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.attn = SelfAttention(width, POOL_HEADS, is_causal=False)
        self.layernorm = LayerNorm(width)
        self.mlp = FeedForward(width, activation)
        for parameter in (self.probe, self.attn.in_proj_weight):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, D) to (N, D)."""
        pooled = self.attn.read(self.probe.expand(len(tokens), -1, -1), tokens)
        return (pooled + self.mlp(self.layernorm(pooled)))[:, 0]
