"""What a configuration beside the weights says that the tensors do not: the activation and the heads.

``config.json`` of Hugging Face and ``open_clip_config.json``. A setting that asks for another computation
than OpenAI's CLIP is refused by name rather than ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vopcli.clip.shape import PIXEL_MEAN, PIXEL_STD
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError

MAX_CONFIG_BYTES = 1 << 22


@dataclass(frozen=True)
class Declared:
    """What was found beside the weights; None where nothing was said."""

    activation: Activation | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    image_resolution: int | None = None


def read_hugging_face_config(folder: Path) -> Declared:
    """Read ``config.json`` of transformers; without one nothing is declared.

    Raises:
        WeightsError: it is not readable, not of a CLIPModel, or asks for something that is not CLIP.
    """
    path = folder / "config.json"
    config = read_json_object(path)
    if config is None:
        return Declared()
    if (kind := config.get("model_type", "clip")) != "clip":
        raise WeightsError(
            f"{path}: a model of type {str(kind)[:40]!r}, not 'clip'", hint="vop runs CLIP models"
        )
    text, vision = _section(path, config, "text_config"), _section(path, config, "vision_config")
    # What is left out has the value that transformers' CLIPConfig gives it.
    activations = {str(section.get("hidden_act", "quick_gelu")) for section in (text, vision)}
    if len(activations) != 1 or not activations <= {choice.value for choice in Activation}:
        raise WeightsError(
            f"{path}: hidden_act is {' and '.join(sorted(activations))[:80]}, not quick_gelu or gelu"
        )
    for section in (text, vision):
        if section.get("layer_norm_eps", 1e-5) != 1e-5:
            raise WeightsError(f"{path}: layer_norm_eps is {section['layer_norm_eps']}, not 1e-5")
    _check_pixels(folder / "preprocessor_config.json", "image_mean", "image_std")
    _check_pixels(folder / "processor_config.json", "image_mean", "image_std", "image_processor")
    return Declared(
        activation=Activation(activations.pop()),
        vision_heads=_count(path, vision, "num_attention_heads", 12),
        text_heads=_count(path, text, "num_attention_heads", 8),
        image_resolution=_count(path, vision, "image_size", 224),
    )


_OPEN_CLIP_VISION = {
    "image_size",
    "layers",
    "width",
    "patch_size",
    "head_width",
    "mlp_ratio",
    "patch_dropout",
}
_OPEN_CLIP_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_OPEN_CLIP_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"}
_OPEN_CLIP_USUAL = {
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "pos_embed_type": ("learnable",),
}


def read_open_clip_config(folder: Path) -> Declared:
    """Read ``open_clip_config.json``; without one nothing is declared.

    Raises:
        WeightsError: it is not readable, or asks for something that is not CLIP.
    """
    path = folder / "open_clip_config.json"
    config = read_json_object(path)
    if config is None:
        return Declared()
    model = _section(path, config, "model_cfg") if "model_cfg" in config else config
    vision, text = _section(path, model, "vision_cfg"), _section(path, model, "text_cfg")
    for section, known in ((model, _OPEN_CLIP_MODEL), (vision, _OPEN_CLIP_VISION), (text, _OPEN_CLIP_TEXT)):
        others = sorted(
            key
            for key, value in section.items()
            if value and key not in known and value not in _OPEN_CLIP_USUAL.get(key, ())
        )
        if others:
            raise WeightsError(
                f"{path}: {', '.join(others[:3])[:120]} asks for another model than OpenAI's CLIP",
                hint="custom towers, timm and Hugging Face text towers are not supported",
            )
        if section.get("mlp_ratio", 4) != 4:
            raise WeightsError(f"{path}: mlp_ratio is {section['mlp_ratio']}, not 4")
    _check_pixels(path, "mean", "std", "preprocess_cfg")
    # What is left out has the value that open_clip gives it.
    width, head_width = _count(path, vision, "width", 768), _count(path, vision, "head_width", 64)
    return Declared(
        activation=Activation.QUICK_GELU if model.get("quick_gelu", False) else Activation.GELU,
        vision_heads=width // head_width,
        text_heads=_count(path, text, "heads", 8),
        image_resolution=_count(path, vision, "image_size", 224),
    )


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Return the object that a JSON file holds; None where there is no such file.

    Raises:
        WeightsError: the file is not a JSON object of sensible size.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        config = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not readable JSON", hint="download it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a configuration", hint="download it again")
    return config


def _section(path: Path, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name, {})
    if not isinstance(section, dict):
        raise WeightsError(f"{path}: {name} is not a list of settings", hint="download it again")
    return section


def _count(path: Path, section: Mapping[str, Any], name: str, default: int) -> int:
    value = section.get(name, default)
    if type(value) is not int or not 1 <= value <= 1 << 20:
        raise WeightsError(f"{path}: {name} is {str(value)[:60]}, which is not supported")
    return value


def _check_pixels(path: Path, mean: str, std: str, section: str = "") -> None:
    """Refuse a model whose pixels are scaled in another way: it would run, and be silently worse.

    Raises:
        WeightsError: naming the scale.
    """
    config = read_json_object(path) or {}
    if section:
        config = _section(path, config, section)
    for name, ours in ((mean, PIXEL_MEAN), (std, PIXEL_STD)):
        theirs = config.get(name)
        if theirs is None:
            continue
        values = theirs if isinstance(theirs, list) and len(theirs) == 3 else [theirs] * 3
        if not all(_is_near(value, own) for value, own in zip(values, ours, strict=True)):
            raise WeightsError(
                f"{path}: {name} is {str(theirs)[:80]}; vop scales pixels as OpenAI's CLIP, {list(ours)}",
                hint="the model would run and find the wrong videos; use one with OpenAI's preprocessing",
            )


def _is_near(value: object, own: float) -> bool:
    return isinstance(value, int | float) and abs(value - own) < 1e-3
