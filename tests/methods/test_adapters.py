"""Adapters against their formula."""

import copy

import pytest
import torch
from torch import nn

from tests.support.methods import (
    SHAPE,
    fresh,
)
from vopcli.config.choices import Variant


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
