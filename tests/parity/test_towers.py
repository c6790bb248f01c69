"""Both towers against open_clip and transformers: whole tensors, and variants that must not pass."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from tests.support.clip import (
    clip_of,
    openai_shape,
    random_clip,
    random_pixels,
    random_state,
    random_tokens,
    tiny_clip,
)
from tests.support.peers import (
    State,
    open_clip_model,
    transformers_images,
    transformers_model,
    transformers_texts,
)
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation

Embeddings = tuple[torch.Tensor, torch.Tensor]
ACTIVATIONS = list(Activation)
TOLERANCE = 1e-5  # of whole tensors in float32
OPENAI_NAMES = ["ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]


def embed_open_clip(shape: ClipShape, state: State, pixels: torch.Tensor, tokens: torch.Tensor) -> Embeddings:
    model = open_clip_model(shape, state)
    return model.encode_image(pixels), model.encode_text(tokens)


def embed_transformers(
    shape: ClipShape, state: State, pixels: torch.Tensor, tokens: torch.Tensor
) -> Embeddings:
    model = transformers_model(shape, state)
    return transformers_images(model, pixels), transformers_texts(model, tokens)


PEERS = {"open_clip": embed_open_clip, "transformers": embed_transformers}


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=PEERS.values(), ids=PEERS.keys())
def embed(request: pytest.FixtureRequest) -> Callable[..., Embeddings]:
    return request.param


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.value)
def test_small_odd_model_matches(embed: Callable[..., Embeddings], activation: Activation) -> None:
    shape = tiny_clip(activation)
    pixels, tokens = random_pixels(shape, 5), random_tokens(9)
    images, texts = embed(shape, random_state(shape), pixels, tokens)
    ours = random_clip(shape)
    torch.testing.assert_close(ours.encode_image(pixels), images, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(ours.encode_text(tokens), texts, rtol=TOLERANCE, atol=TOLERANCE)
    assert distinct(images)
    assert distinct(texts)


def distinct(embeddings: torch.Tensor) -> bool:
    """Whether no two inputs come out alike: else a tower that ignores its input would pass."""
    unit = functional.normalize(embeddings, dim=-1)
    return float((unit @ unit.T).fill_diagonal_(-1).max()) < 0.99


def other_activation(shape: ClipShape) -> Clip:
    other = {Activation.GELU: Activation.QUICK_GELU, Activation.QUICK_GELU: Activation.GELU}
    return random_clip(dataclasses.replace(shape, activation=other[shape.activation]))


def other_heads(shape: ClipShape) -> Clip:
    return random_clip(dataclasses.replace(shape, vision_heads=4, text_heads=4))


def other_mask(shape: ClipShape) -> Clip:
    clip = random_clip(shape)
    for block in (*clip.transformer.resblocks, *clip.visual.transformer.resblocks):
        block.attn.is_causal = not block.attn.is_causal
    return clip


def swapped_query_and_key(shape: ClipShape) -> Clip:
    """The same scores, transposed: seen only where attention is not symmetric."""
    clip = random_clip(shape)
    for block in (*clip.transformer.resblocks, *clip.visual.transformer.resblocks):
        for parameter in (block.attn.in_proj_weight, block.attn.in_proj_bias):
            query, key, value = parameter.chunk(3)
            parameter.copy_(torch.cat([key, query, value]))
    return clip


def other_epsilon(shape: ClipShape) -> Clip:
    clip = random_clip(shape)
    for module in clip.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3
    return clip


def transposed_grid(shape: ClipShape) -> Clip:
    """Patches counted down the columns rather than along the rows (and each patch turned with them)."""
    clip = random_clip(shape)
    weight = clip.visual.conv1.weight
    clip.visual.conv1.weight = torch.nn.Parameter(weight.transpose(2, 3), requires_grad=False)
    return clip


@pytest.mark.parametrize(
    ("wrong", "images_differ", "texts_differ"),
    [
        (other_activation, True, True),
        (other_heads, True, True),
        (other_mask, True, True),
        (swapped_query_and_key, True, True),
        (other_epsilon, True, True),
        (transposed_grid, True, False),
    ],
)
def test_wrong_variant_does_not_match(
    wrong: Callable[[ClipShape], Clip], images_differ: bool, texts_differ: bool
) -> None:
    shape = tiny_clip()
    pixels, tokens = random_pixels(shape, 5), random_tokens(9)
    images, texts = embed_open_clip(shape, random_state(shape), pixels, tokens)
    clip = wrong(shape)
    assert close(clip.encode_image(pixels), images, 10 * TOLERANCE) is not images_differ
    assert close(clip.encode_text(tokens), texts, 10 * TOLERANCE) is not texts_differ


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.value)
def test_half_precision_keeps_direction(activation: Activation, dtype: torch.dtype) -> None:
    shape = tiny_clip(activation)
    pixels, tokens = random_pixels(shape, 5), random_tokens(9)
    images, texts = embed_open_clip(shape, random_state(shape), pixels, tokens)
    check_direction(random_clip(shape, dtype=dtype), pixels, tokens, images, texts)


def check_direction(
    half: Clip, pixels: torch.Tensor, tokens: torch.Tensor, images: torch.Tensor, texts: torch.Tensor
) -> None:
    found_images, found_texts = half.encode_image(pixels), half.encode_text(tokens)
    assert found_images.dtype == found_texts.dtype == half.token_embedding.weight.dtype
    assert functional.cosine_similarity(found_images.float(), images).min() >= 0.9999
    assert functional.cosine_similarity(found_texts.float(), texts).min() >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_full_size_matches(name: str) -> None:
    shape = openai_shape(name)
    if "@" in name:  # its layers are those of ViT-L/14
        shape = dataclasses.replace(shape, vision_layers=2, text_layers=2)
    state = random_state(shape)
    pixels, tokens = random_pixels(shape, 2), random_tokens(2)
    ours = clip_of(shape, state)
    found_images, found_texts = ours.encode_image(pixels), ours.encode_text(tokens)
    assert distinct(found_images)
    assert distinct(found_texts)
    peers = list(PEERS.values())
    for embed in peers[:1] if name == "ViT-L/14" else peers:  # building a second large model takes a minute
        images, texts = embed(shape, state, pixels, tokens)
        torch.testing.assert_close(found_images, images, rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(found_texts, texts, rtol=TOLERANCE, atol=TOLERANCE)
    half = clip_of(shape, state, dtype=torch.bfloat16)
    check_direction(half, pixels, tokens, found_images, found_texts)
