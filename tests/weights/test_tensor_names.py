from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support.clip import random_state, random_tokens, tiny_clip
from tests.support.weights_files import TINY, as_numpy, write_hugging_face
from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import NumpyTextTower
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError
from vopcli.weights.build import build_clip
from vopcli.weights.reader import read_weights, write_safetensors
from vopcli.weights.tensor_names import (
    drop_buffers,
    from_hugging_face,
    from_perception,
    refuse_other_models,
)


@pytest.mark.parametrize("activation", list(Activation))
def test_renamed_tensors_compute_the_same_in_open_clip(tmp_path: Path, activation: Activation) -> None:
    """Two libraries, each with its own names for the same model, have to agree on images and texts."""
    open_clip = pytest.importorskip("open_clip.model")
    transformers = pytest.importorskip("transformers")
    shape = replace(TINY, activation=activation)
    tensors = write_hugging_face(tmp_path / "hf", shape)
    with torch.no_grad():
        for name in tensors:  # of a size at which nothing overflows or vanishes
            tensors[name].mul_(0.1)
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
    theirs.load_state_dict(tensors)
    reference = open_clip.CLIP(
        embed_dim=shape.embed_dim,
        vision_cfg={"image_size": 24, "layers": 2, "width": 192, "patch_size": 8},
        text_cfg={"context_length": 11, "vocab_size": 30, "width": 128, "heads": 2, "layers": 1},
        quick_gelu=activation is Activation.QUICK_GELU,
    ).eval()
    renamed = from_hugging_face(as_numpy(tensors))
    reference.load_state_dict({name: torch.tensor(array) for name, array in renamed.items()}, strict=True)

    pixels = torch.randn(2, 3, 24, 24)
    ids = torch.tensor([[28, 3, 9, 29, 0, 0, 0, 0, 0, 0, 0], [28, 5, 1, 2, 7, 7, 8, 6, 4, 3, 29]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = theirs.visual_projection(theirs.vision_model(pixels).pooler_output)
        texts = theirs.text_projection(theirs.text_model(ids).pooler_output)
        torch.testing.assert_close(reference.encode_image(pixels), images, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reference.encode_text(ids), texts, rtol=1e-5, atol=1e-5)


def test_layer_without_its_key_matrix_is_named() -> None:
    tensors = {
        f"text_model.encoder.layers.3.self_attn.{part}_proj.weight": np.zeros((2, 2), np.float32)
        for part in "qv"
    }
    with pytest.raises(
        WeightsError, match=r"transformer\.resblocks\.3\.attn\.in_proj_weight lacks its k_proj"
    ):
        from_hugging_face(tensors)


@pytest.mark.parametrize("odd", [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float16), np.float32(1)])
def test_thirds_that_do_not_fit_are_named(odd: np.ndarray) -> None:
    tensors = {
        f"vision_model.encoder.layers.0.self_attn.{part}_proj.bias": np.zeros((2, 2), np.float32)
        for part in "qk"
    }
    tensors["vision_model.encoder.layers.0.self_attn.v_proj.bias"] = np.asarray(odd)
    with pytest.raises(WeightsError, match="differ in shape or dtype"):
        from_hugging_face(tensors)


def test_unknown_names_are_kept_for_the_check_to_name() -> None:
    one = np.zeros(1, np.float32)
    tensors = {"text_model.odd": one, "text_model.encoder.layers.0.mlp.fc3.weight": one}
    assert from_hugging_face(tensors) == tensors


def test_only_what_is_no_weight_is_dropped() -> None:
    dropped = ["input_resolution", "context_length", "vocab_size", "attn_mask", "visual.a.attn_mask"]
    dropped += ["text_model.embeddings.position_ids"]
    kept = ["positional_embedding", "visual.input_resolution", "attn_mask.weight"]
    one = np.zeros(1, np.float32)
    assert list(drop_buffers(dict.fromkeys([*dropped, *kept], one))) == kept


OTHERS = {
    "visual.layer1.0.conv1.weight": "a CLIP model with a ResNet",
    "visual.attnpool.positional_embedding": "a CLIP model with a ResNet",
    "logit_bias": r"a SigLIP model \(sigmoid loss\)",
    "vision_model.head.probe": r"a SigLIP model \(sigmoid loss\)",
    "visual.trunk.attn_pool.latent": "a model with an image tower from timm",
    "visual.attn_pool.query": "a model with another image tower",
    "visual.trunk.patch_embed.proj.weight": "a model with an image tower from timm",
    "visual.blocks.0.norm1.weight": "a model with another image tower",
    "text.transformer.resblocks.0.ln_1.weight": r"a model with another text tower \(CustomTextCLIP\)",
    "text_model.encoder.layer.0.attention.self.query.weight": "a BERT text tower",
    "visual_prompt_learner.visual_prompts": "a VoP checkpoint with prompts",
    "model.diffusion_model.input_blocks.0.0.weight": "another model",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_refused_by_name(name: str) -> None:
    with pytest.raises(WeightsError, match=OTHERS[name]) as caught:
        refuse_other_models({**TINY.tensor_shapes(), name: ()})
    assert name in str(caught.value)
    assert "ViT-B/32" in caught.value.hint


def test_tensors_of_something_else_are_named() -> None:
    with pytest.raises(WeightsError, match=r"not the tensors of a CLIP model \(fc\.bias, fc\.weight\)"):
        refuse_other_models({"fc.weight": (), "fc.bias": ()})


def test_clip_itself_is_not_refused(tmp_path: Path) -> None:
    refuse_other_models(TINY.tensor_shapes())
    refuse_other_models(write_hugging_face(tmp_path))


@pytest.mark.parametrize("name", ["visual.attn_pool.probe", "visual.trunk.norm_pre.weight"])
def test_perception_encoder_without_class_token_is_refused(name: str) -> None:
    tensors = {name: (), "visual.trunk.attn_pool.latent": (), "visual.conv1.weight": ()}
    with pytest.raises(WeightsError, match="a Perception Encoder without class token, such as PE-Core-G14"):
        refuse_other_models(tensors)
    refuse_other_models({**tensors, "visual.trunk.cls_token": ()})


def test_pooling_whose_query_does_not_fit_is_named() -> None:
    pool = "visual.trunk.attn_pool"
    tensors = {f"{pool}.q.bias": np.zeros(2, np.float32), f"{pool}.kv.bias": np.zeros((4, 1), np.float32)}
    with pytest.raises(WeightsError, match=r"attn_pool\.q\.bias does not fit kv\.bias"):
        from_perception(tensors)


class LongText(nn.Module):
    """Long-CLIP's text tower on PyTorch's own layers, with two position tables and masks of their rows."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width, length = shape.text_width, shape.context_length
        self.token_embedding = nn.Embedding(shape.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.zeros(length, width))
        self.positional_embedding_res = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                shape.text_heads,
                4 * width,
                dropout=0.0,
                activation=lambda hidden: hidden * torch.sigmoid(1.702 * hidden),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(shape.text_layers)
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, shape.embed_dim))
        self.is_first = (torch.arange(length) < 20).float()[:, None]

    def load(self, tensors: dict[str, torch.Tensor]) -> LongText:
        parts = {
            "attn.": "self_attn.",
            "ln_1": "norm1",
            "ln_2": "norm2",
            "mlp.c_fc": "linear1",
            "mlp.c_proj": "linear2",
        }
        renamed = {}
        for name, tensor in tensors.items():
            if name.startswith("transformer.resblocks."):
                name = name.replace("transformer.resblocks", "blocks")
                for ours, theirs in parts.items():
                    name = name.replace(ours, theirs)
            renamed[name] = tensor
        text = {
            name: tensor
            for name, tensor in renamed.items()
            if not name.startswith("visual.") and name != "logit_scale"
        }
        self.load_state_dict(text, strict=True)
        return self.eval()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = self.positional_embedding * self.is_first + self.positional_embedding_res * (
            1 - self.is_first
        )
        hidden = self.token_embedding(tokens) + positions
        mask = torch.full((tokens.shape[1], tokens.shape[1]), -torch.inf).triu(1)
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask)
        hidden = self.ln_final(hidden)
        return hidden[torch.arange(len(tokens)), tokens.argmax(-1)] @ self.text_projection


def test_long_clip_has_two_position_tables(tmp_path: Path) -> None:
    heads = {"vision_width": 128, "vision_heads": 2, "text_width": 192, "text_heads": 3}
    shape = replace(tiny_clip(), context_length=248, **heads)
    tensors = {name: torch.from_numpy(array) for name, array in random_state(shape).items()}
    tensors["positional_embedding_res"] = torch.randn(248, shape.text_width) * 0.3
    path = tmp_path / "longclip-B.pt"
    torch.save(tensors, path)
    weights = read_weights(path)
    assert (weights.shape, weights.kind.split(" (")[0]) == (shape, "Long-CLIP")

    tokens = random_tokens(5, length=248)
    with torch.no_grad():
        expected = LongText(shape).load(tensors)(tokens)
        clip = build_clip(weights, device="cpu", dtype=torch.float32)
        torch.testing.assert_close(clip.encode_text(tokens), expected, rtol=1e-5, atol=1e-5)
    found = NumpyTextTower(weights.tensors, shape).encode(tokens.numpy())
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)

    write_safetensors(weights, tmp_path / "converted.safetensors")
    assert read_weights(tmp_path / "converted.safetensors").fingerprint() == weights.fingerprint()
    tensors["positional_embedding_res"] = tensors["positional_embedding_res"][:77].clone()
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(
        WeightsError, match="positional_embedding and positional_embedding_res differ in shape"
    ):
        read_weights(tmp_path / "cut.safetensors")
