"""Adapters: small bottlenecks beside the attention or feed-forward network of every layer (VoP, section 4.2).

A layer x + Sublayer(LN(x)) becomes x + Sublayer(LN(x)) + s * Up(ReLU(Down(LN(x)))). Up starts at zero, so a
fresh adapter changes nothing.

Axes: N sequences, L tokens, D tower width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vopcli.clip.transformer import Transformer


class Adapter(nn.Module):
    """s * Up(ReLU(Down(x))), with biases."""

    def __init__(self, *, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, D) to (N, L, D), in the dtype of the input."""
        added = self.up(torch.relu(self.down(tokens.to(self.down.weight.dtype))))
        return (added * self.scale).to(tokens.dtype)


def attach_adapters(
    transformer: Transformer, sublayer: str, *, width: int, hidden: int, scale: float
) -> nn.ModuleList:
    """Put an adapter beside ``sublayer`` ("attn" or "mlp") of every layer; return them in the layers' order.

    The sublayer's input is LN(x) and its output is added to x: adding to that output is all it takes.
    """
    adapters = nn.ModuleList()
    for block in transformer.resblocks:
        adapter = Adapter(width=width, hidden=hidden, scale=scale)

        def add(_: nn.Module, given: tuple[Any, ...], output: Tensor, adapter: nn.Module = adapter) -> Tensor:
            read = given[0][:, : output.shape[1]].contiguous()  # the last layer may skip tokens
            return output + adapter(read)

        getattr(block, sublayer).register_forward_hook(add)
        adapters.append(adapter)
    return adapters
