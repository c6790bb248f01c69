"""The independent models that ours is compared with: open_clip's CLIP and transformers' CLIPModel.

Both get their weights under their own names; the translation for transformers is written out here a second
time, so that a mistake in ours cannot hide in it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from transformers import CLIPConfig, CLIPModel

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation

State = dict[str, NDArray[np.float32]]


def open_clip_model(shape: ClipShape, state: State) -> CLIP:
    """open_clip's model of these sizes and weights, float32."""
    model = CLIP(
        shape.embed_dim,
        vision_cfg={
            "image_size": shape.image_resolution,
            "patch_size": shape.patch_size,
            "layers": shape.vision_layers,
            "width": shape.vision_width,
            "head_width": shape.vision_width // shape.vision_heads,
        },
        text_cfg=open_clip_text(shape),
        quick_gelu=shape.activation is Activation.QUICK_GELU,
    )
    model.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in state.items()}, strict=True
    )
    return model.eval().requires_grad_(False)


def open_clip_text(shape: ClipShape) -> dict[str, int]:
    """The settings of open_clip's text tower of these sizes."""
    return {
        "context_length": shape.context_length,
        "vocab_size": shape.vocab_size,
        "layers": shape.text_layers,
        "width": shape.text_width,
        "heads": shape.text_heads,
    }


def transformers_model(shape: ClipShape, state: State, *, dtype: torch.dtype = torch.float32) -> CLIPModel:
    """transformers' model of these sizes and weights."""
    activation = shape.activation.value
    config = CLIPConfig(
        projection_dim=shape.embed_dim,
        vision_config={
            "image_size": shape.image_resolution,
            "patch_size": shape.patch_size,
            "num_hidden_layers": shape.vision_layers,
            "hidden_size": shape.vision_width,
            "intermediate_size": 4 * shape.vision_width,
            "num_attention_heads": shape.vision_heads,
            "hidden_act": activation,
        },
        text_config={
            "max_position_embeddings": shape.context_length,
            "vocab_size": shape.vocab_size,
            "num_hidden_layers": shape.text_layers,
            "hidden_size": shape.text_width,
            "intermediate_size": 4 * shape.text_width,
            "num_attention_heads": shape.text_heads,
            "hidden_act": activation,
            "bos_token_id": shape.vocab_size - 2,
            "eos_token_id": shape.vocab_size - 1,
        },
    )
    model = CLIPModel(config)
    model.load_state_dict(_transformers_state(shape, state), strict=True)
    return model.to(dtype).eval().requires_grad_(False)


def transformers_images(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings (N, E) of images, not normalised."""
    return model.get_image_features(pixel_values=pixels).pooler_output


def transformers_texts(model: CLIPModel, tokens: torch.Tensor) -> torch.Tensor:
    """Embeddings (N, E) of texts, not normalised."""
    return model.get_text_features(input_ids=tokens).pooler_output


def _transformers_state(shape: ClipShape, state: State) -> dict[str, torch.Tensor]:
    theirs = {
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_projection.weight": state["text_projection"].T,
        "logit_scale": state["logit_scale"],
    }
    norms = {
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final",
    }
    linears = {}
    for tower, prefix, layers in [
        ("vision_model", "visual.", shape.vision_layers),
        ("text_model", "", shape.text_layers),
    ]:
        for layer in range(layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            layer_name = f"{tower}.encoder.layers.{layer}"
            norms |= {f"{layer_name}.layer_norm{k}": f"{block}.ln_{k}" for k in (1, 2)}
            linears |= {
                f"{layer_name}.self_attn.out_proj": f"{block}.attn.out_proj",
                f"{layer_name}.mlp.fc1": f"{block}.mlp.c_fc",
                f"{layer_name}.mlp.fc2": f"{block}.mlp.c_proj",
            }
            for kind in ("weight", "bias"):
                thirds = np.split(state[f"{block}.attn.in_proj_{kind}"], 3)
                names = [f"{layer_name}.self_attn.{part}_proj.{kind}" for part in "qkv"]
                theirs |= dict(zip(names, thirds, strict=True))
    for their_name, our_name in (norms | linears).items():
        theirs |= {f"{their_name}.{kind}": state[f"{our_name}.{kind}"] for kind in ("weight", "bias")}
    return {name: torch.tensor(np.ascontiguousarray(array)) for name, array in theirs.items()}
