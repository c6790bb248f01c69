"""Build the prompts of both towers (VoP, sections 3.2 and 3.3) from any sources of video prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Sides
from vopcli.config.schema import TuningConfig
from vopcli.methods.frame_prompts import FramePrompts, GenericPrompts, PromptSource
from vopcli.methods.function_prompts import FunctionPrompts
from vopcli.methods.registry import METHODS
from vopcli.methods.text_prompts import TextPrompts

# vision width and number of layers that get prompts of single frames -> where these prompts come from
BuildSource = Callable[[int, int], PromptSource]


def generic_source(num_prompts: int) -> BuildSource:
    """Return a builder of ``num_prompts`` prompts that are the same for each frame."""
    return lambda width, num_layers: GenericPrompts(num_layers=num_layers, prompts=num_prompts, width=width)


def build_generic(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    """Build prompts that are the same for each frame."""
    return build_prompts(tuning, clip, num_frames, [generic_source(tuning.prompt_length)])


def build_prompts(
    tuning: TuningConfig, clip: Clip, num_frames: int, sources: Sequence[BuildSource]
) -> dict[str, nn.Module]:
    """Build text prompts, and video prompts from ``sources``, in this order."""
    parts: dict[str, nn.Module] = {}
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
        parts["vision_prompts"] = _vision_prompts(tuning, shape, num_frames, sources)
    return parts


def _vision_prompts(
    tuning: TuningConfig, shape: ClipShape, num_frames: int, sources: Sequence[BuildSource]
) -> nn.Module:
    is_joint = "split_layer" in METHODS[tuning.variant].settings
    split_layer = tuning.split_layer if is_joint else shape.vision_layers
    prompted = tuning.prompted_layers(shape.vision_layers)
    layers = [layer for layer in prompted if layer < split_layer]
    built = [build(shape.vision_width, len(layers)) for build in sources] if layers else []
    shallow = FramePrompts(
        built,
        depth=shape.vision_layers,
        layers=layers,
        frames=num_frames,
        pools_tokens=shape.is_perception,
    )
    if not is_joint:
        return shallow
    return FunctionPrompts(
        shallow,
        depth=shape.vision_layers,
        split_layer=split_layer,
        layers=[layer for layer in prompted if layer >= split_layer],
        prompts=tuning.prompt_length,
        width=shape.vision_width,
    )
