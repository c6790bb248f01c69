"""Sizes of the context modules, and their position embeddings."""

import math

import pytest

from tests.support.methods import (
    B32,
    count,
    fresh,
)
from vopcli.config.choices import ContextModule, Variant
from vopcli.methods.context_prompts import position_sines


def test_context_modules_have_their_own_sizes() -> None:
    one_direction = count(B32, Variant.C, context_module=ContextModule.LSTM)
    assert one_direction == 4 * 2 * 768**2 + 8 * 768 + 768 * 3072 + 3072 + 12 * 4 * 768 + 49_152
    attentive = count(B32, Variant.C, context_module=ContextModule.TRANSFORMER)
    assert attentive == 4 * (12 * 768**2 + 13 * 768) + 768 * 3072 + 3072 + 12 * 4 * 768 + 49_152


@pytest.mark.parametrize("changes", [{"split_layer": 0}, {"layers": "3"}])
def test_no_context_is_read_where_no_shallow_layer_has_prompts(changes: dict[str, object]) -> None:
    assert not any("reader" in name for name, _ in fresh(Variant.C_F, **changes).named_parameters())


def test_position_embeddings_are_those_of_the_formula() -> None:
    found = position_sines(5, 7)
    for position in range(5):
        for channel in range(7):
            angle = position / 10_000 ** (2 * (channel // 2) / 7)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert float(found[position, channel]) == pytest.approx(expected, abs=1e-6)
