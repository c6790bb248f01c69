"""Selections of the backbone's own tensors: everything, biases, projections or the last layers.

Each function returns whether the tensor called ``name`` by OpenAI is trained in a model of ``shape``.
"""

from __future__ import annotations

from vopcli.clip.shape import ClipShape


def is_any(name: str, shape: ClipShape) -> bool:
    """Select every tensor."""
    return True


def is_bias(name: str, shape: ClipShape) -> bool:
    """Select the biases of both towers."""
    return name.endswith("bias")


def is_projection(name: str, shape: ClipShape) -> bool:
    """Select both projections into the joint space."""
    return name in {"visual.proj", "text_projection"}


def is_last_layer(name: str, shape: ClipShape) -> bool:
    """Select the last layer of each tower."""
    text, vision = shape.text_layers - 1, shape.vision_layers - 1
    last = (f"transformer.resblocks.{text}.", f"visual.transformer.resblocks.{vision}.")
    return name.startswith(last)
