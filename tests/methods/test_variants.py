"""What must hold for each of the thirteen variants, found by independent means."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from tests.methods.test_reference import FRAMES, JOINT, PROMPTED, SHAPE, TUNING, build
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, ContextModule, Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError
from vopcli.methods.model import CPU_VIDEOS, VideoTextModel

B32 = ClipShape(512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8, Activation.QUICK_GELU)
B16 = dataclasses.replace(B32, patch_size=16)
L14 = ClipShape(768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12, Activation.QUICK_GELU)
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


def num_trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count(shape: ClipShape, variant: Variant, **changes: object) -> int:
    with torch.device("meta"):
        return num_trained(
            VideoTextModel(Clip(shape), TuningConfig(variant=variant, **changes), num_frames=12)
        )


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
    }[variant]


@pytest.mark.parametrize("variant", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published_ones(variant: Variant) -> None:
    assert count(B32, variant) == PUBLISHED_COUNTS[variant] == counted_by_hand(B32, variant)


@pytest.mark.parametrize("shape", [B16, L14], ids=["B/16", "L/14"])
@pytest.mark.parametrize("variant", PUBLISHED_COUNTS)
def test_parameter_counts_of_larger_backbones(shape: ClipShape, variant: Variant) -> None:
    assert count(shape, variant) == counted_by_hand(shape, variant)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sides": Sides.TEXT}, 49_152),
        ({"sides": Sides.VISUAL}, 73_728),
        ({"layers": "1-6"}, 61_440),
        ({"layers": "1,12"}, 20_480),
        ({"prompt_length": 4}, 61_440),
    ],
)
def test_ablations_of_plain_vop_are_settings(changes: dict[str, object], expected: int) -> None:
    assert count(B32, Variant.VOP, **changes) == expected


def test_context_modules_have_their_own_sizes() -> None:
    one_direction = count(B32, Variant.C, context_module=ContextModule.LSTM)
    assert one_direction == 4 * 2 * 768**2 + 8 * 768 + 768 * 3072 + 3072 + 12 * 4 * 768 + 49_152
    attentive = count(B32, Variant.C, context_module=ContextModule.TRANSFORMER)
    assert attentive == 4 * (12 * 768**2 + 13 * 768) + 768 * 3072 + 3072 + 12 * 4 * 768 + 49_152


def videos(num: int = 2) -> torch.Tensor:
    side = SHAPE.image_resolution
    return torch.randn(num, FRAMES, 3, side, side, generator=torch.Generator().manual_seed(5))


def texts() -> torch.Tensor:
    return torch.tensor([[29, 3, 4, 5, 30, 0], [29, 7, 30, 0, 0, 0]])


def fresh(variant: Variant, **changes: object) -> VideoTextModel:
    torch.manual_seed(3)
    tuning = dataclasses.replace(TUNING, variant=variant, **changes)
    return VideoTextModel(Clip(SHAPE), tuning, num_frames=FRAMES).eval()


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


@pytest.mark.parametrize("variant", [Variant.ADAPTER_ATTN, Variant.ADAPTER_FFN])
def test_adapters_do_what_their_formula_says(variant: Variant) -> None:
    model = fresh(variant)
    for name, parameter in model.named_parameters():
        if "adapters" in name:
            nn.init.normal_(parameter, std=0.5)
    block, adapter = model.clip.transformer.resblocks[1], model.text_adapters[1]
    tokens = torch.randn(2, 7, SHAPE.text_width)
    clean = copy.deepcopy(block)
    for sublayer in (clean.attn, clean.mlp):
        sublayer._forward_hooks.clear()

    def bottleneck(normed: torch.Tensor) -> torch.Tensor:
        hidden = (normed @ adapter.down.weight.T + adapter.down.bias).clamp(min=0)
        return 0.1 * (hidden @ adapter.up.weight.T + adapter.up.bias)

    with torch.no_grad():
        beside = bottleneck(clean.ln_1(tokens)) if variant is Variant.ADAPTER_ATTN else 0
        middle = tokens + clean.attn(clean.ln_1(tokens)) + beside
        beside = bottleneck(clean.ln_2(middle)) if variant is Variant.ADAPTER_FFN else 0
        expected = middle + clean.mlp(clean.ln_2(middle)) + beside
        torch.testing.assert_close(block(tokens), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(block(tokens), clean(tokens), atol=1e-3)


def test_f_without_joint_layers_is_plain_vop() -> None:
    joint, plain = build(Variant.F, split_layer=SHAPE.vision_layers), build(Variant.VOP)
    plain.clip.load_state_dict(joint.clip.state_dict())
    plain.vision_prompts.load_state_dict(joint.vision_prompts.shallow.state_dict())
    with torch.no_grad():
        assert torch.equal(joint.encode_frames(videos().double()), plain.encode_frames(videos().double()))


def test_p_with_all_rows_alike_is_plain_vop() -> None:
    placed, plain = build(Variant.P), build(Variant.VOP)
    generic, position = (source.table for source in placed.vision_prompts.sources)
    with torch.no_grad():
        position[:] = position[:, :1]
        plain.clip.load_state_dict(placed.clip.state_dict())
        plain.vision_prompts.sources[0].table[:] = torch.cat([generic, position[:, 0]], dim=1)
        found, expected = placed.encode_video(videos().double()), plain.encode_video(videos().double())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


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


@pytest.mark.parametrize("variant", Variant)
def test_a_batch_equals_its_videos_one_by_one(variant: Variant) -> None:
    model = fresh(variant)
    with torch.no_grad():
        together = model.encode_video(videos(CPU_VIDEOS + 1))
        alone = torch.cat([model.encode_video(video[None]) for video in videos(CPU_VIDEOS + 1)])
        torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)
        texts_alone = torch.cat([model.encode_text(text[None]) for text in texts()])
        torch.testing.assert_close(model.encode_text(texts()), texts_alone, rtol=0, atol=2e-6)


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
    "variant", [*PROMPTED, *(pytest.param(one, marks=pytest.mark.slow) for one in UNCHANGED_AT_FIRST[1:])]
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


@pytest.mark.parametrize("variant", sorted(JOINT | {Variant.P, Variant.C, Variant.VOP}))
def test_another_number_of_frames_is_refused(variant: Variant) -> None:
    with pytest.raises(ValueError, match=f"videos have 4 frames, the model was tuned for {FRAMES}"):
        fresh(variant).encode_video(videos()[:, :4])


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ("0-3", "does not lie within 1-4"),
        ("5", "does not lie within 1-4"),
        ("a", "is no list of layers"),
        ("", "is no list"),
    ],
)
def test_layers_that_are_not_there_are_refused(layers: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TuningConfig(layers=layers).prompted_layers(4)


@pytest.mark.parametrize(
    ("variant", "layers", "num_vision"),
    [
        (Variant.VOP, "1,3", 2 * 3),
        (Variant.P, "1,3", 2 * (1 + 2 * FRAMES)),
        (Variant.F, "1,3", 2 * 3 + FRAMES),
        (Variant.F, "1", 3 + FRAMES),
        (Variant.P_F, "1,3", 1 + 2 * FRAMES + 3 + FRAMES),
    ],
)
def test_layers_without_prompts_train_none(variant: Variant, layers: str, num_vision: int) -> None:
    model = fresh(variant, layers=layers)
    assert num_trained(model.vision_prompts) == num_vision * SHAPE.vision_width
    assert num_trained(model.text_prompts) == len(layers.split(",")) * 3 * SHAPE.text_width


@pytest.mark.parametrize("changes", [{"split_layer": 0}, {"layers": "3"}])
def test_no_context_is_read_where_no_shallow_layer_has_prompts(changes: dict[str, object]) -> None:
    assert not any("reader" in name for name, _ in fresh(Variant.C_F, **changes).named_parameters())


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
