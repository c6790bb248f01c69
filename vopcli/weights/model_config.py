"""Read activation and number of heads, which tensors do not show, from a configuration beside the weights.

The files are ``config.json`` of Hugging Face and ``open_clip_config.json``. A setting that changes the
computation compared with OpenAI's CLIP is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vopcli.clip.shape import PIXEL_MEAN, PIXEL_STD
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError, format_name, format_value

MAX_CONFIG_BYTES = 1 << 22


@dataclass(frozen=True)
class Declared:
    """Settings of the model that were found; None where unknown."""

    activation: Activation | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    image_resolution: int | None = None


def read_hugging_face_config(folder: Path) -> Declared:
    """Read ``config.json`` of transformers; all settings are None if it is missing.

    Raises:
        WeightsError: the file is damaged, not of a CLIPModel, or has a setting that is not supported.
    """
    path = folder / "config.json"
    config = read_json_object(path)
    if config is None:
        return Declared()
    if (kind := config.get("model_type", "clip")) != "clip":
        raise WeightsError(
            f"{path}: model_type is {format_value(kind)}, not 'clip'", hint="only CLIP models are supported"
        )
    text, vision = _section(path, config, "text_config"), _section(path, config, "vision_config")
    # Missing settings have the default of transformers' CLIPConfig.
    activations = {str(section.get("hidden_act", "quick_gelu")) for section in (text, vision)}
    if len(activations) != 1 or not activations <= {choice.value for choice in Activation}:
        raise WeightsError(
            f"{path}: hidden_act is {format_name(' and '.join(sorted(activations)))}, not quick_gelu or gelu"
        )
    for section in (text, vision):
        if section.get("layer_norm_eps", 1e-5) != 1e-5:
            raise WeightsError(
                f"{path}: layer_norm_eps is {format_value(section['layer_norm_eps'])}, not 1e-5"
            )
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
    """Read ``open_clip_config.json``; all settings are None if it is missing.

    Raises:
        WeightsError: the file is damaged, or has a setting that is not supported.
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
                f"{path}: {', '.join(map(format_name, others[:3]))} is set, which differs from OpenAI's CLIP",
                hint="custom towers, timm and Hugging Face text towers are not supported",
            )
        if section.get("mlp_ratio", 4) != 4:
            raise WeightsError(f"{path}: mlp_ratio is {format_value(section['mlp_ratio'])}, not 4")
    _check_pixels(path, "mean", "std", "preprocess_cfg")
    # Missing settings have the default of open_clip.
    width, head_width = _count(path, vision, "width", 768), _count(path, vision, "head_width", 64)
    return Declared(
        activation=Activation.QUICK_GELU if model.get("quick_gelu", False) else Activation.GELU,
        vision_heads=width // head_width,
        text_heads=_count(path, text, "heads", 8),
        image_resolution=_count(path, vision, "image_size", 224),
    )


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file is missing.

    Raises:
        WeightsError: the file is not a JSON object, or larger than 4 MB.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        config = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not valid JSON", hint="download it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a JSON object, or larger than 4 MB", hint="download it again")
    return config


def _section(path: Path, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name, {})
    if not isinstance(section, dict):
        raise WeightsError(f"{path}: {name} is not a JSON object", hint="download it again")
    return section


def _count(path: Path, section: Mapping[str, Any], name: str, default: int) -> int:
    value = section.get(name, default)
    if type(value) is not int or not 1 <= value <= 1 << 20:
        raise WeightsError(f"{path}: {name} is {format_value(value)}, which is not supported")
    return value


def _check_pixels(path: Path, mean: str, std: str, section: str = "") -> None:
    """Refuse a model with another pixel normalisation, which would run and give worse results.

    Raises:
        WeightsError: mean or standard deviation differ from OpenAI's.
    """
    config = read_json_object(path) or {}
    if section:
        config = _section(path, config, section)
    for name, expected in ((mean, PIXEL_MEAN), (std, PIXEL_STD)):
        given = config.get(name)
        if given is None:
            continue
        values = given if isinstance(given, list) and len(given) == 3 else [given] * 3
        if not all(_is_near(value, wanted) for value, wanted in zip(values, expected, strict=True)):
            raise WeightsError(
                f"{path}: {name} is {format_value(given)}; vop normalises pixels with {list(expected)}",
                hint="use a model with the preprocessing of OpenAI's CLIP",
            )


def _is_near(value: object, wanted: float) -> bool:
    return isinstance(value, int | float) and abs(value - wanted) < 1e-3
