"""Small CLIP models for tests: odd sizes, no two alike, and random weights of a sane spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation
from vopcli.weights.build import build_clip
from vopcli.weights.reader import Weights

VOCAB_SIZE = 49408


def tiny_clip(activation: Activation = Activation.QUICK_GELU) -> ClipShape:
    """Three heads in each tower, a 5 x 5 grid, and no two sizes alike: no mix-up of axes can hide."""
    return ClipShape(
        embed_dim=40,
        image_resolution=35,
        patch_size=7,
        vision_layers=3,
        vision_width=96,
        vision_heads=3,
        context_length=77,
        vocab_size=VOCAB_SIZE,
        text_layers=2,
        text_width=60,
        text_heads=3,
        activation=activation,
    )


def openai_shape(name: str) -> ClipShape:
    """The sizes of one of OpenAI's models."""
    patch_size, resolution, large = {
        "ViT-B/32": (32, 224, False),
        "ViT-B/16": (16, 224, False),
        "ViT-L/14": (14, 224, True),
        "ViT-L/14@336px": (14, 336, True),
    }[name]
    return ClipShape(
        embed_dim=768 if large else 512,
        image_resolution=resolution,
        patch_size=patch_size,
        vision_layers=24 if large else 12,
        vision_width=1024 if large else 768,
        vision_heads=16 if large else 12,
        context_length=77,
        vocab_size=VOCAB_SIZE,
        text_layers=12,
        text_width=768 if large else 512,
        text_heads=12 if large else 8,
        activation=Activation.QUICK_GELU,
    )


def random_state(shape: ClipShape, *, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights by OpenAI's names, rounded through fp16: every bias counts, and no layer drowns another."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, size in shape.tensor_shapes().items():
        noise = torch.randn(size, generator=generator)
        state[name] = (noise * _spread(name, size) + _centre(name)).half().float().numpy()
    return state


def _spread(name: str, size: tuple[int, ...]) -> float:
    if name == "logit_scale":
        return 0.0
    if name.endswith("bias") or ".ln_" in f".{name}":
        return 0.1
    if name.endswith(("projection", "proj")):
        return size[0] ** -0.5
    if name.endswith(("in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight", "conv1.weight")):
        return float(np.prod(size[1:])) ** -0.5
    return 0.3  # token, class and positional embeddings: comparable with what the layers add


def _centre(name: str) -> float:
    if name == "logit_scale":
        return 4.5
    return 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0


def clip_of(
    shape: ClipShape, state: dict[str, NDArray[np.float32]], *, dtype: torch.dtype = torch.float32
) -> Clip:
    """A frozen model with the weights of ``state``."""
    weights = Weights(Path("random"), "random", "random", shape, dict(state))
    return build_clip(weights, device="cpu", dtype=dtype)


def random_clip(shape: ClipShape, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Clip:
    """A frozen model with the weights of ``random_state``."""
    return clip_of(shape, random_state(shape, seed=seed), dtype=dtype)


def random_pixels(shape: ClipShape, num_images: int, *, seed: int = 1) -> torch.Tensor:
    """Normalised images (N, 3, H, W), each with a mean and a contrast of its own."""
    generator = torch.Generator().manual_seed(seed)
    side = shape.image_resolution
    noise = torch.randn(num_images, 3, side, side, generator=generator)
    return noise * torch.rand(num_images, 1, 1, 1, generator=generator) + torch.randn(
        num_images, 3, 1, 1, generator=generator
    )


def random_tokens(
    num_texts: int, *, length: int = 77, vocab_size: int = VOCAB_SIZE, seed: int = 2
) -> torch.Tensor:
    """Token ids (N, L) of texts of different lengths: start, words, end of text, then zeros."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.zeros(num_texts, length, dtype=torch.int64)
    for row in tokens:
        num_words = int(torch.randint(0, length - 1, (), generator=generator))
        row[0] = vocab_size - 2
        row[1 : num_words + 1] = torch.randint(1, vocab_size - 2, (num_words,), generator=generator)
        row[num_words + 1] = vocab_size - 1
    return tokens
