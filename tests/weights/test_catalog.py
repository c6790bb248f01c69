from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from open_clip import get_model_config
from open_clip.model import CustomTextCLIP
from open_clip.pretrained import get_pretrained_cfg

from tests.clip.test_shape import OPENAI
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, Fit
from vopcli.errors import UsageError, WeightsError
from vopcli.weights import catalog
from vopcli.weights.tensor_names import from_perception

HALF = re.compile(r"(visual\.conv1|.*\.attn\.|.*\.mlp\.|visual\.proj|text_projection)")


def test_every_name_has_a_digest_and_its_published_size() -> None:
    assert catalog.model_names()[:4] == ["ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]
    for entry, (sizes, *_) in zip(catalog.ENTRIES[:4], OPENAI.values(), strict=True):
        shapes = ClipShape(*sizes, activation=Activation.QUICK_GELU).tensor_shapes()
        num_bytes = sum(math.prod(shape) * (2 if HALF.match(name) else 4) for name, shape in shapes.items())
        assert entry.num_bytes == num_bytes
        assert entry.shape.tensor_shapes() == shapes
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)


@pytest.mark.parametrize("name", ["ViT-B/32", "vit-b/32", "ViT-B-32", "VIT-B-32"])
def test_names_in_other_spellings(name: str) -> None:
    assert catalog.find_model(name) is catalog.ENTRIES[0]


HUB = [entry for entry in catalog.ENTRIES if entry.repository]


@pytest.mark.parametrize("entry", HUB, ids=[entry.name for entry in HUB])
def test_facts_of_the_hub_are_those_of_open_clip(entry: catalog.CatalogEntry) -> None:
    model, _, tag = entry.pretrained.partition("/")
    given, shape = get_pretrained_cfg(model, tag), entry.shape
    assert given["hf_hub"] == f"{entry.repository}/"
    assert (given["mean"], given["std"]) == (shape.preprocessing.mean, shape.preprocessing.std)
    assert given["resize_mode"] == {Fit.CROP: "shortest", Fit.SQUASH: "squash"}[shape.preprocessing.fit]
    assert given["interpolation"] == shape.preprocessing.resize.value
    assert given.get("quick_gelu", False) == (shape.activation is Activation.QUICK_GELU)
    config = get_model_config(model)
    if shape.is_perception:
        check_perception(config, shape)
        return
    vision, text = config["vision_cfg"], config["text_cfg"]
    assert (
        ClipShape(
            embed_dim=config["embed_dim"],
            image_resolution=vision["image_size"],
            patch_size=vision["patch_size"],
            vision_layers=vision["layers"],
            vision_width=vision["width"],
            vision_heads=vision["width"] // vision.get("head_width", 64),
            context_length=text["context_length"],
            vocab_size=text["vocab_size"],
            text_layers=text["layers"],
            text_width=text["width"],
            text_heads=text["heads"],
            activation=shape.activation,
            preprocessing=shape.preprocessing,
        )
        == shape
    )


def check_perception(config: dict[str, Any], shape: ClipShape) -> None:
    """The sizes are those of the model that open_clip builds, without its numbers."""
    del config["custom_text"]
    with torch.device("meta"):
        theirs = CustomTextCLIP(**config)
    zeros = {name: np.broadcast_to(np.float32(0), item.shape) for name, item in theirs.state_dict().items()}
    assert {name: array.shape for name, array in from_perception(zeros).items()} == shape.tensor_shapes()
    assert theirs.visual.trunk.blocks[0].attn.num_heads == shape.vision_heads
    assert theirs.text.transformer.resblocks[0].attn.num_heads == shape.text_heads
    assert theirs.visual.trunk.patch_embed.img_size == (shape.image_resolution,) * 2


@pytest.mark.parametrize("entry", HUB, ids=[entry.name for entry in HUB])
def test_names_of_the_hub_as_users_type_them(entry: catalog.CatalogEntry) -> None:
    for name in (entry.name, entry.pretrained, entry.repository, f"hf-hub:{entry.repository}"):
        for typed in (name, name.lower(), name.replace("/", "-")):
            assert catalog.find_model(typed) is entry
    assert catalog.find_model(entry.pretrained.replace("-quickgelu", "")) is entry


def test_a_misspelt_name_gets_a_suggestion() -> None:
    for name, meant in (
        ("laion2b-b32", "LAION2B-B/32"),
        ("ViT-B-16/datacomp_xl", "ViT-B-16/datacomp_xl_s13b_b90k"),
    ):
        with pytest.raises(UsageError, match="no model is called") as caught:
            catalog.refuse_unknown(name)
        assert meant in caught.value.hint


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
