"""Selections of the backbone's tensors, against names that are written out."""

import pytest

from tests.support.methods import SHAPE
from vopcli.methods import trainable

NAMES = list(SHAPE.tensor_shapes())
LAST = ("transformer.resblocks.2", "visual.transformer.resblocks.3")
OF_A_LAYER = (
    *(f"attn.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")),
    *(f"{norm}.{kind}" for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")),
    *(f"mlp.{layer}.{kind}" for layer in ("c_fc", "c_proj") for kind in ("weight", "bias")),
)


def selected(select: object) -> set[str]:
    return {name for name in NAMES if select(name, SHAPE)}  # type: ignore[operator]


def test_everything_and_projections() -> None:
    assert selected(trainable.is_any) == set(NAMES)
    assert selected(trainable.is_projection) == {"visual.proj", "text_projection"}


def test_last_layers() -> None:
    assert selected(trainable.is_last_layer) == {f"{layer}.{name}" for layer in LAST for name in OF_A_LAYER}


@pytest.mark.parametrize(("tower", "num_layers"), [("", SHAPE.text_layers), ("visual.", SHAPE.vision_layers)])
def test_biases(tower: str, num_layers: int) -> None:
    found = {name for name in selected(trainable.is_bias) if name.startswith("visual.") == bool(tower)}
    in_layers = {
        f"{tower}transformer.resblocks.{layer}.{name}"
        for layer in range(num_layers)
        for name in OF_A_LAYER
        if name.endswith("bias")
    }
    norms = {"visual.ln_pre.bias", "visual.ln_post.bias"} if tower else {"ln_final.bias"}
    assert found == in_layers | norms
