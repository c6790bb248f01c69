"""Properties of every tuning method, checked by independent means."""

import dataclasses
from typing import cast

import pytest
import torch
from torch import nn

from tests.support.methods import (
    B32,
    FRAMES,
    L14,
    PROMPTED,
    SHAPE,
    build,
    count,
    fresh,
    texts,
    videos,
)
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import ContextModule, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError
from vopcli.methods.registry import METHODS, Method

# Of ViT-B/32 with 12 frames, all tensors counted (the paper leaves some out).
PUBLISHED_COUNTS = {
    Variant.ZERO_SHOT: 0,
    Variant.FULL: 151_277_313,
    Variant.BIAS: 171_008,
    Variant.PROJ: 655_360,
    Variant.PARTIAL: 10_240_256,
    Variant.ADAPTER_ATTN: 1_982_976,
    Variant.ADAPTER_FFN: 1_982_976,
    Variant.VOP: 122_880,
    Variant.P: 528_384,
    Variant.C: 14_257_152,
    Variant.F: 132_096,
    Variant.P_F: 402_432,
    Variant.C_F: 14_278_656,
    Variant.LORA_P: 466_944,  # not published; less than P
}
UNCHANGED_AT_FIRST = [
    Variant.ZERO_SHOT,
    Variant.FULL,
    Variant.BIAS,
    Variant.PROJ,
    Variant.PARTIAL,
    Variant.ADAPTER_ATTN,
    Variant.ADAPTER_FFN,
]


def counted_by_hand(shape: ClipShape, variant: Variant) -> int:
    """The same from the sizes: K layers, widths v and t, joint width e, 12 frames."""
    k, v, t, e = shape.vision_layers, shape.vision_width, shape.text_width, shape.embed_dim
    kt, split, text = shape.text_layers, 8, shape.text_layers * 8 * shape.text_width
    reader = 2 * (4 * v * v + 4 * v * v + 8 * v) + 2 * v * 4 * v + 4 * v
    deep = (k - split) * 8 * v + 12 * v
    block = {w: 12 * w * w + 13 * w for w in (v, t)}
    biases = {w: 3 * w + w + 4 * w + w + 2 * w for w in (v, t)}
    adapters = sum(layers * (2 * 64 * w + 64 + w) for layers, w in ((k, v), (kt, t)))
    return {
        Variant.ZERO_SHOT: 0,
        Variant.FULL: shape.num_parameters,
        Variant.BIAS: k * biases[v] + kt * biases[t] + 2 * v + t,
        Variant.PROJ: v * e + t * e,
        Variant.PARTIAL: block[v] + block[t],
        Variant.ADAPTER_ATTN: adapters,
        Variant.ADAPTER_FFN: adapters,
        Variant.VOP: k * 8 * v + text,
        Variant.P: k * (4 + 4 * 12) * v + text,
        Variant.C: reader + k * 4 * v + text,
        Variant.F: split * 8 * v + deep + text,
        Variant.P_F: split * (4 + 4 * 12) * v + deep + text,
        Variant.C_F: reader + split * 4 * v + deep + text,
        Variant.LORA_P: 4 * 4 * (k * v + kt * t) + k * 12 * 2 * v,
    }[variant]


@pytest.mark.parametrize("variant", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published_ones(variant: Variant) -> None:
    assert count(B32, variant) == PUBLISHED_COUNTS[variant] == counted_by_hand(B32, variant)


@pytest.mark.parametrize("variant", PUBLISHED_COUNTS)
def test_parameter_counts_of_a_larger_backbone(variant: Variant) -> None:
    assert count(L14, variant) == counted_by_hand(L14, variant)


@pytest.mark.parametrize("variant", UNCHANGED_AT_FIRST)
def test_untrained_methods_equal_plain_clip_to_the_bit(variant: Variant) -> None:
    torch.manual_seed(3)
    plain = Clip(SHAPE).eval()
    model = fresh(variant)
    frames = videos()
    with torch.no_grad():
        images = plain.encode_image(frames.flatten(0, 1))
        expected = nn.functional.normalize(images, dim=-1).view(2, FRAMES, -1)
        expected_text = nn.functional.normalize(plain.encode_text(texts()), dim=-1)
        assert torch.equal(model.encode_frames(frames), expected)
        assert torch.equal(model.encode_text(texts()), expected_text)


@pytest.mark.parametrize(
    ("variant", "module"),
    [
        *((variant, ContextModule.BILSTM) for variant in PROMPTED),
        *((Variant.C, one) for one in ContextModule),
    ],
)
def test_only_plain_vop_forgets_the_order_of_frames(variant: Variant, module: ContextModule) -> None:
    model = build(variant, context_module=module)
    frames = videos().double()
    with torch.no_grad():
        forward, backward = model.encode_video(frames), model.encode_video(frames.flip(1))
    distance = (forward - backward).abs().max()
    assert (distance < 1e-6) if variant is Variant.VOP else (distance > 1e-4)


@pytest.mark.parametrize("variant", [variant for variant in Variant if variant is not Variant.ZERO_SHOT])
def test_a_step_changes_what_is_trained_and_nothing_else(variant: Variant) -> None:
    model = fresh(variant)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for _ in range(2):  # adapters begin at Up = 0: what is below it moves in the second step
        optimizer.zero_grad()
        similarity = (
            model.clip.logit_scale.exp() * model.encode_text(texts()) @ model.encode_video(videos()).T
        )
        nn.functional.cross_entropy(similarity, torch.arange(2)).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter, before[name]), f"{name} did not move"
        else:
            assert parameter.grad is None, f"{name} is frozen and has a gradient"
            assert torch.equal(parameter, before[name]), f"{name} is frozen and moved"


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(one, marks=pytest.mark.slow if one in UNCHANGED_AT_FIRST else ())
        for one in Variant
        if one is not Variant.ZERO_SHOT
    ],
)
def test_gradients_agree_with_finite_differences(variant: Variant) -> None:
    model = build(variant)
    frames = videos().double()

    def loss() -> torch.Tensor:
        similarity = (
            model.clip.encode_text(texts(), model._text_hook)
            @ model.clip.encode_image(frames.flatten(0, 1), model._vision_hook).T
        )
        return similarity.pow(2).mean().log()

    value = loss() + 0 * model.clip.logit_scale
    value.backward()
    step = 1e-7  # a longer one may carry an adapter's ReLU over its kink
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad or name == "clip.logit_scale":
                continue
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(direction, alpha=step)
            above = loss()
            parameter.sub_(direction, alpha=2 * step)
            below = loss()
            parameter.add_(direction, alpha=step)
            expected = float(above - below) / (2 * step)
            found = float((parameter.grad * direction).sum())
            assert abs(expected) > 1e-5, f"{name}: too little to tell from no gradient"
            assert found == pytest.approx(expected, rel=1e-3), name


def build_misnamed(tuning: TuningConfig, clip: Clip, num_frames: int) -> dict[str, nn.Module]:
    return {"video_prompts": nn.Identity()}


def test_a_builder_that_names_an_unknown_part_is_refused() -> None:
    records, record = cast("dict[Variant, Method]", METHODS), METHODS[Variant.VOP]
    records[Variant.VOP] = dataclasses.replace(record, builder=f"{__name__}:build_misnamed")
    try:
        with pytest.raises(ValueError, match="build_misnamed returned video_prompts, none of text_prompts, "):
            fresh(Variant.VOP)
    finally:
        records[Variant.VOP] = record


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ("0-3", "is not within 1-4"),
        ("5", "is not within 1-4"),
        ("a", "is not a list of layers"),
        ("", "is not a list"),
    ],
)
def test_layers_that_are_not_there_are_refused(layers: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TuningConfig(layers=layers).prompted_layers(4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"variant": Variant.P, "specific_length": 3}, "specific_length 3 leaves none of 3 prompts"),
        ({"variant": Variant.VOP, "text_suffix": 4}, "text_suffix 4 is more than the 3 prompts"),
        ({"variant": Variant.F, "split_layer": 5}, "split_layer 5 is more than the model's 4 layers"),
        ({"variant": Variant.VOP, "prompt_length": 18}, "prompt_length 18 leaves no room for words"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fresh(**changes)
