"""Context-specific video prompts: generated from what the frames show (VoP, section 3.3, "C").

The class tokens that enter a layer, one a frame, are read as a sequence; what the reader says of each frame
becomes that frame's prompts. Reader and generator are shared by all layers.

Axes: B videos, F frames, D vision width, P prompts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vopcli.config.choices import ContextModule

_TRANSFORMER_LAYERS = 4  # as in the paper's ablation
_HEAD_WIDTH = 64  # as in CLIP
_LONGEST_WAVE = 10_000.0  # in places, of the sines that tell them apart


class Recurrent(nn.Module):
    """A one-layer LSTM over the frames, in one direction or both, of hidden width D."""

    def __init__(self, width: int, *, both_directions: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=both_directions)
        self.out_width = width * (2 if both_directions else 1)

    def forward(self, cls_tokens: Tensor) -> Tensor:
        """Map (B, F, D) to (B, F, out_width)."""
        device = cls_tokens.device.type
        in_float32 = device == "cpu" and not _cpu_lstm_supports(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False) if in_float32 else contextlib.nullcontext():
            return self.lstm(cls_tokens)[0]


def _cpu_lstm_supports(dtype: torch.dtype) -> bool:
    """Whether oneDNN has an LSTM in ``dtype`` for this CPU: never in float16, in bfloat16 with AVX-512."""
    has_avx512 = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return dtype == torch.float32 or (dtype == torch.bfloat16 and has_avx512)


class Attentive(nn.Module):
    """A small transformer over the frames, whose places are added as sines, since attention knows no order.

    The paper does not say how its own tells them apart: this is ours, and trains nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // _HEAD_WIDTH), 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, _TRANSFORMER_LAYERS, enable_nested_tensor=False)
        self.out_width = width

    def forward(self, cls_tokens: Tensor) -> Tensor:
        """Map (B, F, D) to (B, F, out_width)."""
        return self.encoder(cls_tokens + place_sines(*cls_tokens.shape[1:]).to(cls_tokens))


def place_sines(length: int, width: int) -> Tensor:
    """Return the sines and cosines of places (Vaswani et al., section 3.5): (length, width) float32."""
    rates = _LONGEST_WAVE ** (-torch.arange(0, width, 2) / width)  # (width / 2,) radians a place
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


READERS: dict[ContextModule, Callable[[int], Recurrent | Attentive]] = {
    ContextModule.BILSTM: lambda width: Recurrent(width, both_directions=True),
    ContextModule.LSTM: lambda width: Recurrent(width, both_directions=False),
    ContextModule.TRANSFORMER: Attentive,
}


class ContextPrompts(nn.Module):
    """A source of prompts: a reader of the class tokens, and one linear map to the prompts of each frame."""

    def __init__(self, *, kind: ContextModule, prompts: int, width: int) -> None:
        super().__init__()
        self.num_prompts = prompts
        self.reader = READERS[kind](width)
        self.generate = nn.Linear(self.reader.out_width, prompts * width)

    def forward(self, row: int, cls_tokens: Tensor) -> Tensor:
        """Generate prompts (B, F, P, D) from the class tokens (B, F, D) that enter the layer."""
        batch, frames, width = cls_tokens.shape
        said = self.reader(cls_tokens.to(self.generate.weight.dtype))  # (B, F, out_width)
        return self.generate(said).view(batch, frames, self.num_prompts, width).to(cls_tokens.dtype)
