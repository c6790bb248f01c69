"""Translate other tensor names to OpenAI's, and refuse models that are neither CLIP nor Perception Encoder.

A Perception Encoder keeps Meta's names, which are OpenAI's and ``visual.attn_pool.*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import WeightsError, format_name

Tensors = dict[str, NDArray[Any]]

# Not weights: OpenAI's archives hold three integers, older files buffers that follow from the sizes.
DROPPED = re.compile(r"input_resolution|context_length|vocab_size|(.*\.)?(attn_mask|position_ids)")

_HINT = (
    "supported are CLIP models with a vision transformer such as ViT-B/32, ViT-B/16 and ViT-L/14, and PE-Core"
)

# The first pattern that matches any name tells the kind of model.
_OTHERS: Final = {
    r"visual_prompt_learner\.|text_prompt_learner\.": "a VoP checkpoint with prompts, not a plain backbone",
    r"(logit_bias|vision_model\.head\..*|text_model\.head\..*)$": "a SigLIP model (sigmoid loss)",
    r"visual\.(layer\d+|attnpool)\.": "a CLIP model with a ResNet",
    r"visual\.trunk\.": "a model with an image tower from timm",
    r"visual\.(blocks|patch_embed|stem|head|attn_pool)\b": "a model with another image tower",
    r"text\.": "a model with another text tower (CustomTextCLIP)",
    r"text_model\.encoder\.layer\.|text_model\.embeddings\.word_embeddings": "a model with a BERT text tower",
    r"(bert|text_decoder|qformer|language_model|model\.diffusion_model|cond_stage_model)\.": "another model",
    r".*\.(lora_[AB]|adapter)\.": "a set of adapters, not a backbone",
}

LONG_POSITIONS: Final = "positional_embedding_res"  # of Long-CLIP, for all but the first positions
_NUM_KEPT: Final = 20  # first positions, which Long-CLIP keeps from CLIP (Zhang et al. 2024, section 3.2)

_HF_PLAIN: Final = {
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # sic
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_HF_TRANSPOSED: Final = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
_HF_TOWERS: Final = {"vision_model": "visual.transformer", "text_model": "transformer"}
_HF_BLOCK: Final = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
# Perception Encoders in open_clip, whose image tower is timm's: applied in this order
_TIMM: Final = {
    r"^text\.": "",
    r"^visual\.trunk\.": "visual.",
    r"\.cls_token$": ".class_embedding",
    r"\.pos_embed$": ".positional_embedding",
    r"\.patch_embed\.proj\.": ".conv1.",
    r"\.norm_pre\.": ".ln_pre.",
    r"^visual\.norm\.": "visual.ln_post.",
    r"\.blocks\.": ".transformer.resblocks.",
    r"\.norm([12])\.": r".ln_\1.",
    r"\.attn\.qkv\.": ".attn.in_proj_",
    r"\.attn\.proj\.": ".attn.out_proj.",
    r"\.fc1\.": ".c_fc.",
    r"\.fc2\.": ".c_proj.",
    r"\.attn_pool\.latent$": ".attn_pool.probe",
    r"\.attn_pool\.proj\.": ".attn_pool.attn.out_proj.",
    r"\.attn_pool\.norm\.": ".attn_pool.layernorm.",
    r"\.head\.weight$": ".proj",
    r"\.head\.bias$": ".proj_bias",
}
_HF_LAYER: Final = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d{1,9})\.(.+)\.(weight|bias)")


def is_hugging_face(names: Mapping[str, object]) -> bool:
    """Return whether the names are those of transformers' CLIPModel."""
    return any(name.startswith(("vision_model.", "text_model.")) for name in names)


def is_perception(names: Mapping[str, object]) -> bool:
    """Return whether the names are those of a Perception Encoder, in Meta's files or open_clip's."""
    in_timm = {"visual.trunk.attn_pool.latent", "visual.trunk.norm_pre.weight"} <= names.keys()
    return in_timm or "visual.attn_pool.probe" in names


def refuse_other_models(names: Mapping[str, object]) -> None:
    """Refuse models that are neither CLIP with OpenAI's two transformers nor a Perception Encoder.

    Raises:
        WeightsError: the names are those of another model.
    """
    if is_perception(names):
        if not names.keys() & {"visual.class_embedding", "visual.trunk.cls_token"}:
            raise WeightsError(
                "this is a Perception Encoder without class token, such as PE-Core-G14", hint=_HINT
            )
        return
    for pattern, kind in _OTHERS.items():
        match = next((name for name in names if re.match(pattern, name)), None)
        if match is not None:
            raise WeightsError(f"this is {kind}: it has a tensor {format_name(match)}", hint=_HINT)
    if not is_hugging_face(names) and "visual.conv1.weight" not in names and "text_projection" not in names:
        shown = ", ".join(map(format_name, sorted(names)[:3])) or "none at all"
        raise WeightsError(f"these are not the tensors of a CLIP model ({shown})", hint=_HINT)


def drop_buffers(tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Return the tensors without buffers, which are not weights."""
    return {name: array for name, array in tensors.items() if not DROPPED.fullmatch(name)}


def from_perception(tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Convert a Perception Encoder's tensors to Meta's names and layout.

    The projection of open_clip's models has a bias. It is zero in those that Meta trained, whose files leave
    it out. Unknown names are kept: the check of the shapes reports them.

    Raises:
        WeightsError: the query of the attention pooling does not fit its key and value.
    """
    renamed: Tensors = {}
    for name, array in tensors.items():
        new = name
        for pattern, replacement in _TIMM.items():
            new = re.sub(pattern, replacement, new)
        if name.endswith((".cls_token", ".pos_embed")):
            array = array.squeeze()
        renamed[new] = array.T if name.endswith(".head.weight") else array
    for kind in ("weight", "bias"):
        names = [f"visual.attn_pool.{part}.{kind}" for part in ("q", "kv")]
        if parts := [renamed.pop(name) for name in names if name in renamed]:
            try:
                renamed[f"visual.attn_pool.attn.in_proj_{kind}"] = np.concatenate(parts)
            except ValueError as error:
                raise WeightsError(f"visual.trunk.attn_pool.q.{kind} does not fit kv.{kind}") from error
    if "visual.proj" in renamed:
        renamed.setdefault("visual.proj_bias", np.zeros(renamed["visual.proj"].shape[-1:], np.float32))
    return renamed


def from_hugging_face(tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Convert transformers' CLIP tensors to OpenAI's names and layout.

    The query, key and value matrices become the thirds of one matrix. Unknown names are kept: the check of
    the shapes reports them.

    Raises:
        WeightsError: the query, key or value of a layer is missing, or they differ in shape or dtype.
    """
    renamed: Tensors = {}
    thirds: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in tensors.items():
        if name in _HF_PLAIN:
            renamed[_HF_PLAIN[name]] = array
        elif name in _HF_TRANSPOSED:
            renamed[_HF_TRANSPOSED[name]] = array.T
        elif match := _HF_LAYER.fullmatch(name):
            tower, layer, part, kind = match.groups()
            block = f"{_HF_TOWERS[tower]}.resblocks.{int(layer)}"
            if part in {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}:
                thirds.setdefault(f"{block}.attn.in_proj_{kind}", {})[part[-6]] = array
            elif part in _HF_BLOCK:
                renamed[f"{block}.{_HF_BLOCK[part]}.{kind}"] = array
            else:
                renamed[name] = array
        else:
            renamed[name] = array
    for name, parts in thirds.items():
        renamed[name] = _join_thirds(name, parts)
    return renamed


def join_positions(tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Join the two position tables of Long-CLIP's text tower; other models are returned as they are.

    Raises:
        WeightsError: one of the tables is missing, or they differ in shape.
    """
    joined = dict(tensors)
    later = joined.pop(LONG_POSITIONS, None)
    if later is not None:
        first = joined.get("positional_embedding")
        if first is None or first.shape != later.shape or later.ndim == 0:
            raise WeightsError(f"positional_embedding and {LONG_POSITIONS} differ in shape")
        joined["positional_embedding"] = np.concatenate([first[:_NUM_KEPT], later[_NUM_KEPT:]])
    return joined


def _join_thirds(name: str, parts: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    missing = [part for part in "qkv" if part not in parts]
    if missing:
        raise WeightsError(f"the tensors do not fit a CLIP model: {name} lacks its {', '.join(missing)}_proj")
    arrays = [parts[part] for part in "qkv"]
    if len({(array.shape, array.dtype.str) for array in arrays}) != 1 or arrays[0].ndim == 0:
        raise WeightsError(f"the query, key and value of {name} differ in shape or dtype")
    return np.concatenate(arrays)
