"""The thirteen variants with what they train, counted on a model without weights."""

from __future__ import annotations

from typing import Any, Final

import torch

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import UsageError
from vopcli.progress import SilentProgress
from vopcli.resources import cache_folder
from vopcli.tuning.model import VideoTextModel
from vopcli.weights.catalog import find
from vopcli.weights.reader import read_weights, resolve_weights

# variant -> what trains, and the paper's figure in its Table 1
DESCRIPTIONS: Final[dict[Variant, tuple[str, str]]] = {
    Variant.ZERO_SHOT: ("nothing", "0"),
    Variant.FULL: ("everything", "119.8 M"),
    Variant.BIAS: ("every bias of both towers", "0.1 M"),
    Variant.PROJ: ("the last linear projection of both towers", "0.7 M"),
    Variant.PARTIAL: ("the last layer of both towers", "7.7 M"),
    Variant.ADAPTER_ATTN: ("bottlenecks beside each self-attention", "2.0 M"),
    Variant.ADAPTER_FFN: ("bottlenecks beside each feed-forward network", "2.0 M"),
    Variant.VOP: ("prompts in every layer of both towers", "0.1 M"),
    Variant.P: ("VoP, video prompts by the frame's position", "0.5 M"),
    Variant.C: ("VoP, video prompts generated from the frames", "14.3 M"),
    Variant.F: ("VoP, deep layers attend over all frames", "0.1 M"),
    Variant.P_F: ("P in the shallow layers, F in the deep ones", "0.4 M"),
    Variant.C_F: ("C in the shallow layers, F in the deep ones", "14.1 M"),
}
# embed, resolution, patch, vision layers / width / heads, context, vocabulary, text layers / width / heads
_OPENAI: Final = {
    "ViT-B/32": (512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8),
    "ViT-B/16": (512, 224, 16, 12, 768, 12, 77, 49408, 12, 512, 8),
    "ViT-L/14": (768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12),
    "ViT-L/14@336px": (768, 336, 14, 24, 1024, 16, 77, 49408, 12, 768, 12),
}


def list_methods(weights: str, *, num_frames: int) -> list[dict[str, Any]]:
    """Return name, description and number of trained parameters of each variant.

    Raises:
        UsageError: the model has too few layers for the default settings.
        WeightsError: the weights are missing or damaged.
    """
    shape = _shape(weights)
    split = min(TuningConfig.split_layer, max(shape.vision_layers - 1, 0))
    if not split:
        raise UsageError(f"{weights} has a single layer: F needs two", hint="name another model")
    found = []
    for variant, (trains, published) in DESCRIPTIONS.items():
        with torch.device("meta"):  # shapes only
            tuning = TuningConfig(variant=variant, split_layer=split)
            model = VideoTextModel(Clip(shape), tuning, num_frames=num_frames)
        count = sum(item.numel() for item in model.parameters() if item.requires_grad)
        found.append(
            {"variant": variant.value, "trains": trains, "num_trained": count, "published": published}
        )
    return found


def _shape(weights: str) -> ClipShape:
    entry = find(weights)
    if entry and entry.name in _OPENAI:
        return ClipShape(*_OPENAI[entry.name], activation=Activation.QUICK_GELU)
    path = resolve_weights(weights, cache=cache_folder(), progress=SilentProgress())
    return read_weights(path).shape
