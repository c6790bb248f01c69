"""Sizes of a CLIP model with a vision transformer, derived from the shapes of its tensors.

Tensor names are OpenAI's (``visual.conv1.weight``, ``transformer.resblocks.0.attn.in_proj_weight``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vopcli.config.choices import Activation, Fit, Resize
from vopcli.errors import WeightsError, format_name

HEAD_WIDTH = 64  # of all OpenAI models, which do not store the number of heads
POOL_HEADS: Final = 8  # of the attention pooling of every Perception Encoder
MAX_LAYERS = 1000  # guards against damaged files that name layer 10**9

Shape = tuple[int, ...]

# of R, G and B in 0..1 over CLIP's training images
PIXEL_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD: Final = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """How images become the input of a model; the defaults are OpenAI's.

    Attributes:
        mean: of R, G and B in 0..1, subtracted from each pixel.
        std: standard deviation of R, G and B, by which each difference is divided.
        fit: how an image becomes a square.
        resize: resampling.
    """

    mean: tuple[float, ...] = PIXEL_MEAN
    std: tuple[float, ...] = PIXEL_STD
    fit: Fit = Fit.CROP
    resize: Resize = Resize.BICUBIC


OPENAI_PREPROCESSING: Final = Preprocessing()
PERCEPTION_PREPROCESSING: Final = Preprocessing((0.5,) * 3, (0.5,) * 3, Fit.SQUASH, Resize.BILINEAR)


@dataclass(frozen=True)
class ClipShape:
    """Sizes of both towers, lengths in tokens, resolutions in pixels; activation and preprocessing.

    With ``is_perception`` the vision tower is that of Meta's Perception Encoder: it rotates queries and keys
    by the position of their patch, and pools all tokens by attention.
    """

    embed_dim: int
    image_resolution: int
    patch_size: int
    vision_layers: int
    vision_width: int
    vision_heads: int
    context_length: int
    vocab_size: int
    text_layers: int
    text_width: int
    text_heads: int
    activation: Activation
    preprocessing: Preprocessing = OPENAI_PREPROCESSING
    is_perception: bool = False

    @classmethod
    def from_tensors(
        cls,
        shapes: Mapping[str, Shape],
        activation: Activation,
        vision_heads: int | None = None,
        text_heads: int | None = None,
        preprocessing: Preprocessing = OPENAI_PREPROCESSING,
    ) -> ClipShape:
        """Derive the sizes from ``shapes`` (OpenAI's names) and check every tensor against them.

        Args:
            shapes: the shape of every tensor in the file.
            activation: activation function, which the tensors do not show.
            vision_heads: attention heads of the vision tower; None: one for each 64 channels.
            text_heads: the same for the text tower.
            preprocessing: how images become its input.

        Raises:
            WeightsError: a tensor is missing, unexpected, or of a shape that does not fit the others.
        """
        width, _, patch_size, _ = _dims(shapes, "visual.conv1.weight", 4)
        positions, _ = _dims(shapes, "visual.positional_embedding", 2)
        context_length, text_width = _dims(shapes, "positional_embedding", 2)
        vocab_size, _ = _dims(shapes, "token_embedding.weight", 2)
        _, embed_dim = _dims(shapes, "text_projection", 2)
        side = math.isqrt(max(positions - 1, 0))
        if side * side + 1 != positions or side == 0:
            raise WeightsError(
                f"visual.positional_embedding has {positions} rows, which is not one more than a square",
                hint="only square images are supported",
            )
        shape = cls(
            embed_dim=embed_dim,
            image_resolution=side * patch_size,
            patch_size=patch_size,
            vision_layers=_num_layers(shapes, "visual.transformer"),
            vision_width=width,
            vision_heads=_heads(vision_heads, width, "vision"),
            context_length=context_length,
            vocab_size=vocab_size,
            text_layers=_num_layers(shapes, "transformer"),
            text_width=text_width,
            text_heads=_heads(text_heads, text_width, "text"),
            activation=activation,
            preprocessing=preprocessing,
            is_perception="visual.attn_pool.probe" in shapes,
        )
        shape.check(shapes)
        if shape.is_perception and (width % POOL_HEADS or width // shape.vision_heads % 4):
            raise WeightsError(
                f"a Perception Encoder {width} wide with {shape.vision_heads} heads is unknown"
            )
        return shape

    def tensor_shapes(self) -> dict[str, Shape]:
        """Return the shape of every tensor that a model of these sizes has, by OpenAI's name."""
        grid = self.image_resolution // self.patch_size
        vision, text = self.vision_width, self.text_width
        return {
            "positional_embedding": (self.context_length, text),
            "text_projection": (text, self.embed_dim),
            "logit_scale": (),
            "visual.class_embedding": (vision,),
            "visual.positional_embedding": (grid * grid + 1, vision),
            "visual.proj": (vision, self.embed_dim),
            "visual.conv1.weight": (vision, 3, self.patch_size, self.patch_size),
            **_norm("visual.ln_pre", vision),
            **_blocks("visual.transformer", self.vision_layers, vision),
            **_norm("visual.ln_post", vision),
            **_blocks("transformer", self.text_layers, text),
            "token_embedding.weight": (self.vocab_size, text),
            **_norm("ln_final", text),
            **(self._pooling_shapes() if self.is_perception else {}),
        }

    def _pooling_shapes(self) -> dict[str, Shape]:
        pool, width = "visual.attn_pool", self.vision_width
        return {
            "visual.proj_bias": (self.embed_dim,),
            f"{pool}.probe": (1, 1, width),
            **_attention(f"{pool}.attn", width),
            **_norm(f"{pool}.layernorm", width),
            **_feed_forward(f"{pool}.mlp", width),
        }

    @property
    def num_parameters(self) -> int:
        """Number of parameters of a model of these sizes."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    def check(self, shapes: Mapping[str, Shape]) -> None:
        """Check that ``shapes`` are those of a model of these sizes.

        Raises:
            WeightsError: a tensor is missing, unexpected, or of another shape.
        """
        expected = self.tensor_shapes()
        wrong = [
            f"{name} {shapes[name]} instead of {shape}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ]
        faults = [
            _name_some("missing", [name for name in expected if name not in shapes]),
            _name_some("unexpected", sorted(shapes.keys() - expected.keys())),
            _name_some("of the wrong shape", wrong),
        ]
        if any(faults):
            raise WeightsError(
                f"the tensors do not fit a CLIP model: {'; '.join(filter(None, faults))}",
                hint="is the file complete, and is it a CLIP model with a vision transformer?",
            )


@dataclass(frozen=True)
class TextTuning:
    """Changes of a variant to the structure of the text tower; its tensors are passed separately.

    Attributes:
        prefix: prompts after the start token; ``text_prompts.table`` holds the prompts of each layer.
        suffix: prompts before the last position.
        layers: the layers with prompts, in the order of the table's rows.
        sublayer: "attn" or "mlp", beside which ``text_adapters`` stand, or "in_proj", to
            whose matrix they are added; "" without adapters.
        scale: factor on the output of an adapter.
    """

    prefix: int = 0
    suffix: int = 0
    layers: tuple[int, ...] = ()
    sublayer: str = ""
    scale: float = 0.0


def _name_some(fault: str, items: list[str]) -> str:
    """Return the number of items, the first three by name; empty without items."""
    if not items:
        return ""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{len(items)} {fault} ({', '.join(map(format_name, items[:3]))}{more})"


def _dims(shapes: Mapping[str, Shape], name: str, rank: int) -> Shape:
    if name not in shapes:
        raise WeightsError(
            f"the tensors do not fit a CLIP model: {name} is missing",
            hint="is it a CLIP model with a vision transformer?",
        )
    shape = shapes[name]
    if len(shape) != rank or min(shape) < 1:
        raise WeightsError(f"the tensor {name} has shape {shape}, expected {rank} axes, none of them empty")
    return shape


def _num_layers(shapes: Mapping[str, Shape], tower: str) -> int:
    pattern = re.compile(re.escape(tower) + r"\.resblocks\.(\d{1,9})\.")
    numbers = {int(match[1]) for match in map(pattern.match, shapes) if match}
    if not numbers:
        raise WeightsError(f"the tensors do not fit a CLIP model: none is named {tower}.resblocks.*")
    if max(numbers) >= MAX_LAYERS:
        raise WeightsError(
            f"the tensors name layer {max(numbers)} of {tower}, more than the {MAX_LAYERS} that are supported"
        )
    return max(numbers) + 1


def _heads(given: int | None, width: int, tower: str) -> int:
    if given is None and width % HEAD_WIDTH:
        raise WeightsError(
            f"the {tower} tower is {width} wide, not a multiple of {HEAD_WIDTH}: "
            "its number of heads is unknown",
            hint="use a file that stores the number of heads: one written by `vop weights convert`, or a "
            "Hugging Face or open_clip folder with its configuration",
        )
    heads = width // HEAD_WIDTH if given is None else given
    if heads < 1 or width % heads:
        raise WeightsError(f"the {tower} tower's width {width} does not divide into {heads} attention heads")
    return heads


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _blocks(tower: str, layers: int, width: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for layer in range(layers):
        block = f"{tower}.resblocks.{layer}"
        shapes |= _attention(f"{block}.attn", width) | _norm(f"{block}.ln_1", width)
        shapes |= _feed_forward(f"{block}.mlp", width) | _norm(f"{block}.ln_2", width)
    return shapes


def _attention(name: str, width: int) -> dict[str, Shape]:
    return {
        f"{name}.in_proj_weight": (3 * width, width),
        f"{name}.in_proj_bias": (3 * width,),
        f"{name}.out_proj.weight": (width, width),
        f"{name}.out_proj.bias": (width,),
    }


def _feed_forward(name: str, width: int) -> dict[str, Shape]:
    return {
        f"{name}.c_fc.weight": (4 * width, width),
        f"{name}.c_fc.bias": (4 * width,),
        f"{name}.c_proj.weight": (width, 4 * width),
        f"{name}.c_proj.bias": (width,),
    }
