"""The thirteen variants with what they train, counted on a model without weights."""

from __future__ import annotations

from typing import Any

import torch

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation
from vopcli.config.schema import TuningConfig
from vopcli.errors import UsageError
from vopcli.methods.model import VideoTextModel
from vopcli.methods.registry import DESCRIPTIONS
from vopcli.progress import SilentProgress
from vopcli.resources import cache_folder
from vopcli.weights.catalog import _OPENAI, find
from vopcli.weights.reader import read_weights, resolve_weights


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
