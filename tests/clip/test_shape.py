from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.weights_files import TINY
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError

# Published figures: parameters, tensors, and rows of the vision tower's positions.
OPENAI = {
    "B/32": ((512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8), 151_277_313, 302, 50),
    "B/16": ((512, 224, 16, 12, 768, 12, 77, 49408, 12, 512, 8), 149_620_737, 302, 197),
    "L/14": ((768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12), 427_616_513, 446, 257),
    "L/14@336": ((768, 336, 14, 24, 1024, 16, 77, 49408, 12, 768, 12), 427_944_193, 446, 577),
}


@pytest.mark.parametrize("name", OPENAI)
def test_openai_models_have_their_published_sizes(name: str) -> None:
    sizes, num_parameters, num_tensors, positions = OPENAI[name]
    shape = ClipShape(*sizes, activation=Activation.QUICK_GELU)
    tensors = shape.tensor_shapes()
    assert shape.num_parameters == num_parameters
    assert len(tensors) == num_tensors
    assert tensors["visual.positional_embedding"][0] == positions
    assert ClipShape.from_tensors(tensors, Activation.QUICK_GELU) == shape


def test_names_and_shapes_are_those_of_open_clip() -> None:
    open_clip = pytest.importorskip("open_clip.model")
    theirs = open_clip.CLIP(
        embed_dim=40,
        vision_cfg={"image_size": 24, "layers": 2, "width": 192, "patch_size": 8},
        text_cfg={"context_length": 11, "vocab_size": 30, "width": 128, "heads": 2, "layers": 1},
    )
    assert TINY.tensor_shapes() == {name: tuple(t.shape) for name, t in theirs.state_dict().items()}


def test_sizes_and_heads_are_read_off() -> None:
    read = ClipShape.from_tensors(TINY.tensor_shapes(), Activation.GELU, vision_heads=6)
    assert read == replace(TINY, activation=Activation.GELU, vision_heads=6)


def test_missing_extra_and_wrong_tensors_are_named_and_counted() -> None:
    shapes = TINY.tensor_shapes()
    for name in ("ln_final.bias", "ln_final.weight", "logit_scale", "visual.proj"):
        del shapes[name]
    shapes |= {"extra.one": (1,), "visual.ln_pre.bias": (7,)}
    with pytest.raises(WeightsError) as caught:
        ClipShape.from_tensors(shapes, Activation.GELU)
    assert str(caught.value) == (
        "the tensors do not fit a CLIP model: "
        "4 missing (logit_scale, visual.proj, ln_final.weight and 1 more); 1 unexpected (extra.one); "
        "1 of the wrong shape (visual.ln_pre.bias (7,) instead of (192,))"
    )


def test_whole_layer_that_is_missing_is_named() -> None:
    shapes = {
        n: s for n, s in TINY.tensor_shapes().items() if not n.startswith("visual.transformer.resblocks.0.")
    }
    with pytest.raises(
        WeightsError, match=r"12 missing \(visual\.transformer\.resblocks\.0\.attn\.in_proj_weight"
    ):
        ClipShape.from_tensors(shapes, Activation.GELU)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("visual.conv1.weight", None, r"visual\.conv1\.weight is missing"),
        ("visual.conv1.weight", (192, 3, 8), r"has shape \(192, 3, 8\), expected 4 axes"),
        ("visual.conv1.weight", (0, 3, 8, 8), "none of them empty"),
        ("visual.positional_embedding", (9, 192), "9 rows, which is not one more than a square"),
        ("visual.positional_embedding", (1, 192), "1 rows, which is not one more than a square"),
        ("token_embedding.weight", (30, 64), r"token_embedding\.weight \(30, 64\) instead of \(30, 128\)"),
        ("visual.transformer.resblocks.999999999.ln_1.bias", (192,), "name layer 999999999"),
        ("transformer.resblocks.99999999999999999999.ln_1.bias", (128,), "1 unexpected"),
    ],
)
def test_shapes_that_make_no_sense(name: str, shape: tuple[int, ...] | None, message: str) -> None:
    shapes = TINY.tensor_shapes() | {name: shape}
    if shape is None:
        del shapes[name]
    with pytest.raises(WeightsError, match=message):
        ClipShape.from_tensors(shapes, Activation.GELU)  # type: ignore[arg-type]


def test_no_layers_at_all() -> None:
    shapes = {
        name: shape for name, shape in TINY.tensor_shapes().items() if not name.startswith("transformer.")
    }
    with pytest.raises(WeightsError, match=r"none is named transformer\.resblocks"):
        ClipShape.from_tensors(shapes, Activation.GELU)


def test_heads_are_not_guessed() -> None:
    odd = replace(TINY, text_width=96, text_heads=4)
    with pytest.raises(WeightsError, match="the text tower is 96 wide, not a multiple of 64"):
        ClipShape.from_tensors(odd.tensor_shapes(), odd.activation)
    assert ClipShape.from_tensors(odd.tensor_shapes(), odd.activation, text_heads=4) == odd
    with pytest.raises(WeightsError, match="width 192 does not divide into 5 attention heads"):
        ClipShape.from_tensors(TINY.tensor_shapes(), TINY.activation, vision_heads=5)


@pytest.mark.parametrize(("width", "heads"), [(190, 5), (200, 20)])
def test_perception_encoder_that_cannot_be_pooled_or_rotated_is_refused(width: int, heads: int) -> None:
    odd = replace(TINY, is_perception=True, vision_width=width, vision_heads=heads)
    with pytest.raises(WeightsError, match=f"a Perception Encoder {width} wide with {heads} heads"):
        ClipShape.from_tensors(odd.tensor_shapes(), odd.activation, vision_heads=heads)
