"""Context-specific video prompts, generated from the frames themselves (VoP, section 3.3, "C").

A reader takes the class tokens that enter a layer, one for each frame, as a sequence. A linear generator maps
its output for a frame to the prompts of that frame. All layers share one reader and one generator.

Axes: B videos, F frames, D vision width, P prompts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vopcli.clip.model import Clip
from vopcli.config.choices import ContextModule
from vopcli.config.schema import TuningConfig
from vopcli.methods.prompts import build_prompts, generic_source

_TRANSFORMER_LAYERS = 4  # as in the paper's ablation
_HEAD_WIDTH = 64  # as in CLIP
_LONGEST_WAVE = 10_000.0  # in frames, of the sinusoidal position embeddings


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
    """Whether oneDNN has an LSTM in ``dtype`` for this CPU: float32, and bfloat16 with AVX-512."""
    has_avx512 = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return dtype == torch.float32 or (dtype == torch.bfloat16 and has_avx512)


class Attentive(nn.Module):
    """A small transformer over the frames, with sinusoidal position embeddings, which are not trained.

    The paper does not describe the position embeddings of its transformer.
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
        return self.encoder(cls_tokens + position_sines(*cls_tokens.shape[1:]).to(cls_tokens))


def position_sines(length: int, width: int) -> Tensor:
    """Return sinusoidal position embeddings (Vaswani et al., section 3.5): (length, width) float32."""
    rates = _LONGEST_WAVE ** (-torch.arange(0, width, 2) / width)  # (width / 2,) radians a frame
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


READERS: dict[ContextModule, Callable[[int], Recurrent | Attentive]] = {
    ContextModule.BILSTM: lambda width: Recurrent(width, both_directions=True),
    ContextModule.LSTM: lambda width: Recurrent(width, both_directions=False),
    ContextModule.TRANSFORMER: Attentive,
}


class ContextPrompts(nn.Module):
    """A PromptSource: a reader of the class tokens, and a linear map to the prompts of each frame."""

    def __init__(self, *, kind: ContextModule, prompts: int, width: int) -> None:
        super().__init__()
        self.num_prompts = prompts
        self.reader = READERS[kind](width)
        self.generate = nn.Linear(self.reader.out_width, prompts * width)

    def forward(self, row: int, cls_tokens: Tensor) -> Tensor:
        """Generate prompts (B, F, P, D) from the class tokens (B, F, D) that enter the layer."""
        batch, frames, width = cls_tokens.shape
        context = self.reader(cls_tokens.to(self.generate.weight.dtype))  # (B, F, out_width)
        return self.generate(context).view(batch, frames, self.num_prompts, width).to(cls_tokens.dtype)


def build(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Build generic prompts, and ``tuning.specific_length`` prompts generated from each frame's context."""
    specific = tuning.specific_length

    def source(width: int, num_layers: int) -> ContextPrompts:
        return ContextPrompts(kind=tuning.context_module, prompts=specific, width=width)

    return build_prompts(tuning, clip, num_frames, [generic_source(tuning.prompt_length - specific), source])
