"""The thirteen variants: what each adds to the frozen model, and what it trains (VoP, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError
from vopcli.methods.adapters import attach_adapters
from vopcli.methods.context_prompts import ContextPrompts
from vopcli.methods.frame_prompts import FramePrompts, GenericPrompts, PromptSource
from vopcli.methods.function_prompts import FunctionPrompts
from vopcli.methods.position_prompts import PositionPrompts
from vopcli.methods.text_prompts import TextPrompts
from vopcli.methods.trainable import selected_tensors

PART_NAMES = ("text_prompts", "vision_prompts", "text_adapters", "vision_adapters")
JOINT = {Variant.F, Variant.P_F, Variant.C_F}  # deep layers attend over all frames
SPECIFIC = {Variant.P, Variant.C, Variant.P_F, Variant.C_F}  # some prompts differ from frame to frame
Parts = dict[str, nn.Module]  # what a variant adds to the model, by some of these names


def build_parts(tuning: TuningConfig, clip: Clip, *, num_frames: int) -> Parts:
    """Build what ``tuning.variant`` adds to ``clip``, and choose which of its own tensors train.

    Returns:
        The added modules by name; ``text_prompts`` and ``vision_prompts`` are LayerHooks of the two towers.

    Raises:
        ConfigError: the sizes contradict each other or the backbone's.
    """
    check_sizes(tuning, clip.shape)
    clip.requires_grad_(requires_grad=False)
    for name in selected_tensors(tuning.variant, clip.shape):
        clip.get_parameter(name).requires_grad_()
    build = PARTS.get(tuning.variant)
    return build(tuning, clip, num_frames) if build else {}


def check_sizes(tuning: TuningConfig, shape: ClipShape) -> None:
    """Refuse sizes that no model of ``shape`` can have.

    Raises:
        ConfigError: they contradict each other or the backbone's.
    """
    if problems := list(_problems(tuning, shape)):
        raise ConfigError("; ".join(problems), hint="change them in vop.yaml or by their options")
    if PARTS.get(tuning.variant) is _prompts:
        for depth in _prompted_depths(tuning, shape):
            tuning.prompted_layers(depth)


def _prompted_depths(tuning: TuningConfig, shape: ClipShape) -> list[int]:
    """Return how many layers each tower has that gets prompts."""
    depths = {Sides.TEXT: shape.text_layers, Sides.VISUAL: shape.vision_layers}
    return [depth for side, depth in depths.items() if tuning.sides in {side, Sides.BOTH}]


def _problems(tuning: TuningConfig, shape: ClipShape) -> Iterator[str]:
    if tuning.specific_length >= tuning.prompt_length and tuning.variant in SPECIFIC:
        yield f"tuning.specific_length {tuning.specific_length} leaves none of {tuning.prompt_length} prompts"
    if tuning.text_suffix > tuning.prompt_length:
        yield f"tuning.text_suffix {tuning.text_suffix} is more than the {tuning.prompt_length} prompts"
    if tuning.split_layer > shape.vision_layers and tuning.variant in JOINT:
        yield f"tuning.split_layer {tuning.split_layer} is more than the model's {shape.vision_layers} layers"
    if tuning.prompt_length > shape.context_length - 2:
        yield f"tuning.prompt_length {tuning.prompt_length} leaves no room for words"


def _adapters(sublayer: str) -> Callable[[TuningConfig, Clip, int], Parts]:
    def build(tuning: TuningConfig, clip: Clip, num_frames: int) -> Parts:
        towers = {
            "text_adapters": (clip.transformer, clip.shape.text_width),
            "vision_adapters": (clip.visual.transformer, clip.shape.vision_width),
        }
        hidden, scale = tuning.adapter_width, tuning.adapter_scale
        return {
            name: attach_adapters(tower, sublayer, width=width, hidden=hidden, scale=scale)
            for name, (tower, width) in towers.items()
        }

    return build


def _prompts(tuning: TuningConfig, clip: Clip, num_frames: int) -> Parts:
    parts: Parts = {}
    shape = clip.shape
    if tuning.sides is not Sides.VISUAL:
        parts["text_prompts"] = TextPrompts(
            depth=shape.text_layers,
            layers=tuning.prompted_layers(shape.text_layers),
            prefix=tuning.prompt_length - tuning.text_suffix,
            suffix=tuning.text_suffix,
            width=shape.text_width,
        )
    if tuning.sides is not Sides.TEXT:
        parts["vision_prompts"] = _vision_prompts(tuning, shape, num_frames)
    return parts


def _vision_prompts(tuning: TuningConfig, shape: ClipShape, num_frames: int) -> nn.Module:
    joint = tuning.variant in JOINT
    depth = tuning.split_layer if joint else shape.vision_layers
    prompted = tuning.prompted_layers(shape.vision_layers)
    layers = [layer for layer in prompted if layer < depth]
    sources = _sources(tuning, shape, len(layers), num_frames) if layers else []
    shallow = FramePrompts(sources, depth=shape.vision_layers, layers=layers, frames=num_frames)
    if not joint:
        return shallow
    return FunctionPrompts(
        shallow,
        depth=shape.vision_layers,
        split_layer=depth,
        layers=[layer for layer in prompted if layer >= depth],
        prompts=tuning.prompt_length,
        width=shape.vision_width,
    )


def _sources(tuning: TuningConfig, shape: ClipShape, num_layers: int, num_frames: int) -> list[PromptSource]:
    """Return where the prompts of single frames come from: generic ones, and the variant's own."""
    width, specific = shape.vision_width, tuning.specific_length
    if tuning.variant in {Variant.VOP, Variant.F}:
        return [GenericPrompts(num_layers=num_layers, prompts=tuning.prompt_length, width=width)]
    generic = GenericPrompts(num_layers=num_layers, prompts=tuning.prompt_length - specific, width=width)
    if tuning.variant in {Variant.P, Variant.P_F}:
        return [
            generic,
            PositionPrompts(num_layers=num_layers, frames=num_frames, prompts=specific, width=width),
        ]
    return [generic, ContextPrompts(kind=tuning.context_module, prompts=specific, width=width)]


# What each variant adds; zero-shot adds nothing, and full, bias, proj and partial train what is there.
PARTS: dict[Variant, Callable[[TuningConfig, Clip, int], Parts]] = {
    Variant.ADAPTER_ATTN: _adapters("attn"),
    Variant.ADAPTER_FFN: _adapters("mlp"),
    Variant.VOP: _prompts,
    Variant.P: _prompts,
    Variant.C: _prompts,
    Variant.F: _prompts,
    Variant.P_F: _prompts,
    Variant.C_F: _prompts,
}
