"""Which of the backbone's own tensors a method trains: all, biases, projections, or the last layers."""

from __future__ import annotations

from collections.abc import Callable

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Variant


def _is_last_layer(name: str, shape: ClipShape) -> bool:
    text, vision = shape.text_layers - 1, shape.vision_layers - 1
    last = (f"transformer.resblocks.{text}.", f"visual.transformer.resblocks.{vision}.")
    return name.startswith(last)


# Variant -> is the tensor of that (OpenAI's) name trained? The other variants train none of the backbone's.
SELECTORS: dict[Variant, Callable[[str, ClipShape], bool]] = {
    Variant.FULL: lambda name, shape: True,
    Variant.BIAS: lambda name, shape: name.endswith("bias"),
    Variant.PROJ: lambda name, shape: name in {"visual.proj", "text_projection"},
    Variant.PARTIAL: _is_last_layer,
}


def selected_tensors(variant: Variant, shape: ClipShape) -> list[str]:
    """Return the OpenAI names of the backbone's tensors that ``variant`` trains."""
    selector = SELECTORS.get(variant)
    return [name for name in shape.tensor_shapes() if selector(name, shape)] if selector else []
