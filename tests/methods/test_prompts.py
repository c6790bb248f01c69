"""Number and place of the prompts that the settings ask for."""

import pytest

from tests.support.methods import (
    B32,
    FRAMES,
    SHAPE,
    count,
    fresh,
    num_trained,
)
from vopcli.config.choices import Sides, Variant


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
