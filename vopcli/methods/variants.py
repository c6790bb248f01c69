"""Prepare a frozen model for tuning: build the parts of a variant and unfreeze the tensors it trains."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

from torch import nn

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Sides
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError
from vopcli.methods.registry import METHODS

PART_NAMES = ("text_prompts", "vision_prompts", "text_adapters", "vision_adapters")
Parts = dict[str, nn.Module]  # the modules that a variant adds to the model, by some of these names
Builder = Callable[[TuningConfig, Clip, int], Parts]  # settings, backbone, number of frames


def build_parts(tuning: TuningConfig, clip: Clip, *, num_frames: int) -> Parts:
    """Build the modules that ``tuning.variant`` adds to ``clip``, and freeze all tensors it does not train.

    Returns:
        The added modules by name; ``text_prompts`` and ``vision_prompts`` are LayerHooks of the two towers.

    Raises:
        ConfigError: the sizes contradict each other or the backbone's.
        ValueError: the builder returned a name that is not one of ``PART_NAMES``.
    """
    check_sizes(tuning, clip.shape)
    method = METHODS[tuning.variant]
    for name, parameter in clip.named_parameters():
        parameter.requires_grad_(method.selects is not None and method.selects(name, clip.shape))
    parts = _load_builder(method.builder)(tuning, clip, num_frames) if method.builder else {}
    if unknown := sorted(parts.keys() - set(PART_NAMES)):  # it would be left out of the model
        raise ValueError(f"{method.builder} returned {', '.join(unknown)}, none of {', '.join(PART_NAMES)}")
    return parts


def _load_builder(name: str) -> Builder:
    module, _, function = name.partition(":")
    builder: Builder = getattr(importlib.import_module(module), function)
    return builder


def check_sizes(tuning: TuningConfig, shape: ClipShape) -> None:
    """Refuse sizes that no model of ``shape`` can have.

    Raises:
        ConfigError: the sizes contradict each other or the backbone's.
    """
    used = METHODS[tuning.variant].settings
    if problems := list(_problems(tuning, shape, used)):
        raise ConfigError("; ".join(problems), hint="change them in vop.yaml or by their options")
    if "layers" in used:
        for depth in _prompted_depths(tuning, shape):
            tuning.prompted_layers(depth)


def _prompted_depths(tuning: TuningConfig, shape: ClipShape) -> list[int]:
    """Return the number of layers of each tower that gets prompts."""
    depths = {Sides.TEXT: shape.text_layers, Sides.VISUAL: shape.vision_layers}
    return [depth for side, depth in depths.items() if tuning.sides in {side, Sides.BOTH}]


def _problems(tuning: TuningConfig, shape: ClipShape, used: frozenset[str]) -> Iterator[str]:
    if tuning.specific_length >= tuning.prompt_length and "specific_length" in used:
        yield f"tuning.specific_length {tuning.specific_length} leaves none of {tuning.prompt_length} prompts"
    if tuning.text_suffix > tuning.prompt_length:
        yield f"tuning.text_suffix {tuning.text_suffix} is more than the {tuning.prompt_length} prompts"
    if tuning.split_layer > shape.vision_layers and "split_layer" in used:
        yield f"tuning.split_layer {tuning.split_layer} is more than the model's {shape.vision_layers} layers"
    if tuning.prompt_length > shape.context_length - 2:
        yield f"tuning.prompt_length {tuning.prompt_length} leaves no room for words"
