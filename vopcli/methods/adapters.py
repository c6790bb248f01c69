"""Adapters: small bottlenecks beside the attention or feed-forward network of each layer (VoP, section 4.2).

A layer x + Sublayer(LN(x)) becomes x + Sublayer(LN(x)) + s * Up(ReLU(Down(LN(x)))). Up starts at zero, so a
fresh adapter changes nothing.

Axes: N sequences, L tokens, D tower width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vopcli.clip.model import Clip
from vopcli.clip.transformer import Transformer
from vopcli.config.schema import TuningConfig


class Bottleneck(nn.Module):
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


def build_beside_attention(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Attach adapters beside the attention of every layer of both towers."""
    return _attach_to_towers(tuning, clip, "attn")


def build_beside_feed_forward(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Attach adapters beside the feed-forward network of every layer of both towers."""
    return _attach_to_towers(tuning, clip, "mlp")


def _attach_to_towers(tuning: TuningConfig, clip: Clip, sublayer: str) -> dict[str, nn.Module]:
    towers = {
        "text_adapters": (clip.transformer, clip.shape.text_width),
        "vision_adapters": (clip.visual.transformer, clip.shape.vision_width),
    }
    hidden, scale = tuning.adapter_width, tuning.adapter_scale
    return {
        name: attach_adapters(tower, sublayer, width=width, hidden=hidden, scale=scale)
        for name, (tower, width) in towers.items()
    }


def attach_adapters(
    transformer: Transformer, sublayer: str, *, width: int, hidden: int, scale: float
) -> nn.ModuleList:
    """Attach an adapter beside ``sublayer`` ("attn" or "mlp") of every layer; return them in layer order.

    The input of a sublayer is LN(x) and its output is added to x, so a forward hook that adds to this output
    implements the formula above.
    """
    adapters = nn.ModuleList()
    for block in transformer.resblocks:
        adapter = Bottleneck(width=width, hidden=hidden, scale=scale)

        def add(
            _: nn.Module, inputs: tuple[Any, ...], output: Tensor, adapter: nn.Module = adapter
        ) -> Tensor:
            read = inputs[0][:, : output.shape[1]].contiguous()  # the last layer may skip tokens
            return output + adapter(read)

        getattr(block, sublayer).register_forward_hook(add)
        adapters.append(adapter)
    return adapters
