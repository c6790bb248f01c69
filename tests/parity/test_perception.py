"""Perception Encoders against open_clip's models with timm's image tower: whole tensors, prompts included."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor
from torch.nn import functional

from tests.support.clip import random_pixels, random_tokens
from tests.support.perception import B16, SMALL, open_clip_perception, write_open_clip
from vopcli.clip.model import Clip
from vopcli.clip.text_numpy import NumpyTextTower
from vopcli.config.choices import Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods.function_prompts import FunctionPrompts
from vopcli.methods.model import VideoTextModel
from vopcli.weights.build import build_clip
from vopcli.weights.reader import Weights, read_weights, write_safetensors
from vopcli.weights.tensor_names import from_perception

TOLERANCE = 1e-5  # of whole tensors in float32
FRAMES = 4


@pytest.fixture(scope="module")
def theirs() -> CustomTextCLIP:
    return open_clip_perception(SMALL)


@pytest.fixture(scope="module")
def weights(theirs: CustomTextCLIP, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The model as read from a file of open_clip."""
    return read_weights(write_open_clip(tmp_path_factory.mktemp("pe") / "pe.safetensors", theirs))


def build(weights: Weights, dtype: torch.dtype = torch.float32) -> Clip:
    return build_clip(weights, device="cpu", dtype=dtype)


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    unit = functional.normalize(theirs.flatten(0, -2), dim=-1)
    assert float((unit @ unit.T).fill_diagonal_(-1).max()) < 0.99  # else ignoring the input would pass


def test_small_odd_model_matches(theirs: CustomTextCLIP, weights: Weights) -> None:
    assert weights.shape == SMALL
    assert weights.shape.num_parameters == sum(item.numel() for item in theirs.parameters())
    clip, pixels = build(weights), random_pixels(SMALL, 5)
    tokens = random_tokens(9, length=SMALL.context_length, vocab_size=SMALL.vocab_size)
    assert_equal(clip.encode_image(pixels), theirs.encode_image(pixels))
    texts = theirs.encode_text(tokens)
    assert_equal(clip.encode_text(tokens), texts)
    tower = NumpyTextTower({name: weights.tensors[name] for name in weights.tensors}, SMALL)
    assert_equal(torch.from_numpy(tower.encode(tokens.numpy())), functional.normalize(texts, dim=-1))


@pytest.mark.slow
def test_b16_matches() -> None:
    theirs = open_clip_perception(B16)
    tensors = from_perception({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert B16.tensor_shapes() == {name: array.shape for name, array in tensors.items()}
    clip = build(Weights(Path("b16"), "b16", "open_clip", B16, tensors))
    pixels, tokens = random_pixels(B16, 2), random_tokens(2, length=B16.context_length)
    assert_equal(clip.encode_image(pixels), theirs.encode_image(pixels))
    assert_equal(clip.encode_text(tokens), theirs.encode_text(tokens))


def without_rotation(clip: Clip) -> None:
    clip.visual.transformer.forward = lambda tokens, hook, rotations: type(clip.visual.transformer).forward(
        clip.visual.transformer, tokens, hook
    )


def other_pool_heads(clip: Clip) -> None:
    clip.visual.attn_pool.attn.heads = 6


def other_activation(clip: Clip) -> None:
    clip.visual.attn_pool.mlp.activate = functional.relu


def no_projection_bias(clip: Clip) -> None:
    clip.visual.proj_bias.zero_()


@pytest.mark.parametrize("damage", [without_rotation, other_pool_heads, other_activation, no_projection_bias])
def test_wrong_tower_does_not_match(
    theirs: CustomTextCLIP, weights: Weights, damage: Callable[[Clip], None]
) -> None:
    clip, pixels = build(weights), random_pixels(SMALL, 2)
    damage(clip)
    found, expected = clip.encode_image(pixels), theirs.encode_image(pixels)
    assert not torch.allclose(found, expected, rtol=10 * TOLERANCE, atol=10 * TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_keeps_direction(theirs: CustomTextCLIP, weights: Weights, dtype: torch.dtype) -> None:
    pixels = random_pixels(SMALL, 5)
    found = build(weights, dtype).encode_image(pixels)
    assert found.dtype == dtype
    assert functional.cosine_similarity(found.float(), theirs.encode_image(pixels)).min() >= 0.9999


def with_prompts(theirs: CustomTextCLIP, model: VideoTextModel, pixels: Tensor) -> Tensor:
    """Embed frames (B, F, 3, H, W) with timm's layers; the prompts are prefix tokens of timm.

    They follow the class token as in the paper, and timm rotates no prefix.
    """
    trunk, hook = theirs.visual.trunk, model.vision_prompts
    is_joint = isinstance(hook, FunctionPrompts)
    shallow, split = (hook.shallow, hook.split_layer) if is_joint else (hook, len(trunk.blocks))
    rotations = trunk.rope.get_embed()
    tokens = trunk.patch_embed(pixels.flatten(0, 1))
    tokens = torch.cat([trunk.cls_token.expand(len(tokens), 1, -1), tokens], dim=1) + trunk.pos_embed
    heads, patches = (
        tokens[:, :1],
        tokens[:, 1:],
    )  # (B * F, 1, D) and (B * F, G, D); joint: (B, F, D) and so on
    for layer, block in enumerate(trunk.blocks):
        if layer == split:
            frames = tokens.unflatten(0, (-1, FRAMES)) + hook.frame_embedding[:, None]
            heads, patches = frames[:, :, 0], frames[:, :, 1:].flatten(1, 2)
            rotations = rotations.repeat(FRAMES, 1)
        if layer < split:
            cls_tokens = heads.view(-1, FRAMES, heads.shape[-1])
            prompts = [source(layer, cls_tokens).flatten(0, 1) for source in shallow.sources]
        else:
            prompts = [hook.table[layer - split].expand(len(heads), -1, -1)]
        tokens = torch.cat([heads, *prompts, patches], dim=1)
        block.attn.num_prefix_tokens = num_prefix = tokens.shape[1] - patches.shape[1]
        tokens = block(trunk.norm_pre(tokens) if layer == 0 else tokens, rope=rotations)
        heads, patches = tokens[:, : heads.shape[1]], tokens[:, num_prefix:]
        if layer < split:
            tokens = torch.cat([heads, patches], dim=1)
    if is_joint:
        parts = patches.unflatten(1, (FRAMES, -1))
        tokens = torch.cat([heads[:, :, None], parts], dim=2).flatten(0, 1)
    return functional.normalize(trunk.head(trunk.attn_pool(trunk.norm(tokens))), dim=-1)


@pytest.mark.parametrize(
    "variant", [Variant.VOP, Variant.P, Variant.C, Variant.F, Variant.P_F, Variant.C_F], ids=str
)
def test_prompts_are_what_timm_gives_with_the_same_tokens(weights: Weights, variant: Variant) -> None:
    torch.manual_seed(6)
    tuning = TuningConfig(variant=variant, prompt_length=3, specific_length=2, split_layer=1)
    model = VideoTextModel(build(weights), tuning, num_frames=FRAMES).eval()
    for parameter in model.vision_prompts.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.3
    pixels = random_pixels(SMALL, 2 * FRAMES).unflatten(0, (2, FRAMES))
    with torch.no_grad():
        found = model.encode_frames(pixels)
        expected = with_prompts(open_clip_perception(SMALL), model, pixels)
    assert_equal(found, expected.unflatten(0, (2, FRAMES)))


def test_converted_and_metas_files_are_the_same_model(weights: Weights, tmp_path: Path) -> None:
    write_safetensors(weights, tmp_path / "converted.safetensors")
    converted = read_weights(tmp_path / "converted.safetensors")
    assert (converted.shape, converted.fingerprint()) == (SMALL, weights.fingerprint())
    state = {name: torch.tensor(array) for name, array in weights.tensors.items()}
    torch.save({**state, "visual.proj_bias": torch.zeros(SMALL.embed_dim)}, tmp_path / "zero.pt")
    del state["visual.proj_bias"]  # which Meta's files do not have
    torch.save(state, tmp_path / "meta.pt")
    meta = read_weights(tmp_path / "meta.pt")
    assert meta.kind == "Perception Encoder (state dict)"
    assert meta.fingerprint() == read_weights(tmp_path / "zero.pt").fingerprint() != weights.fingerprint()
