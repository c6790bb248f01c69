from __future__ import annotations

import math
import re

import pytest

from tests.clip.test_shape import OPENAI
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError
from vopcli.weights import catalog

HALF = re.compile(r"(visual\.conv1|.*\.attn\.|.*\.mlp\.|visual\.proj|text_projection)")


def test_every_name_has_a_digest_and_its_published_size() -> None:
    assert catalog.model_names() == ["ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]
    for entry, (sizes, *_) in zip(catalog.ENTRIES, OPENAI.values(), strict=True):
        shapes = ClipShape(*sizes, activation=Activation.QUICK_GELU).tensor_shapes()
        num_bytes = sum(math.prod(shape) * (2 if HALF.match(name) else 4) for name, shape in shapes.items())
        assert entry.num_bytes == num_bytes
        assert catalog.openai_shape(entry).tensor_shapes() == shapes
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)


@pytest.mark.parametrize("name", ["ViT-B/32", "vit-b/32", "ViT-B-32", "VIT-B-32"])
def test_names_in_other_spellings(name: str) -> None:
    assert catalog.find_model(name) is catalog.ENTRIES[0]


@pytest.mark.parametrize("name", ["ViT-L/14@336px", "vit-l-14-336px", "ViT-L-14-336"])
def test_the_large_one_is_told_apart(name: str) -> None:
    assert catalog.find_model(name) is catalog.ENTRIES[3]


@pytest.mark.parametrize("name", ["ViT-B-32.pt", "", "ViT", "ViT-B/320", "./ViT-B-32", "demo-tiny"])
def test_other_names_are_not_found(name: str) -> None:
    assert catalog.find_model(name) is None


@pytest.mark.parametrize("name", ["RN50", "rn101", "RN50x4", "RN50x16", "RN50x64"])
def test_resnets_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name} is a CLIP model with a ResNet") as caught:
        catalog.find_model(name)
    assert "ViT-B/32" in caught.value.hint
