"""Read activation, heads and preprocessing, which tensors do not show, from a file beside the weights.

The files are ``config.json`` of Hugging Face and ``open_clip_config.json``. A setting that changes the
computation compared with OpenAI's CLIP is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from vopcli.clip.shape import OPENAI_PREPROCESSING, ClipShape, Preprocessing
from vopcli.config.choices import Activation, Fit, Resize
from vopcli.errors import WeightsError, format_name, format_value

MAX_CONFIG_BYTES = 1 << 22
_NUM_CHANNELS: Final = 3
_PILLOW_FILTERS: Final = {2: Resize.BILINEAR, 3: Resize.BICUBIC}


@dataclass(frozen=True)
class Declared:
    """Settings of the model that were found; None where unknown."""

    activation: Activation | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    image_resolution: int | None = None
    preprocessing: Preprocessing = OPENAI_PREPROCESSING


def of_shape(shape: ClipShape) -> Declared:
    """Return activation, heads, resolution and preprocessing of a known model."""
    return Declared(
        shape.activation,
        shape.vision_heads,
        shape.text_heads,
        shape.image_resolution,
        shape.preprocessing,
    )


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
    return Declared(
        activation=Activation(activations.pop()),
        vision_heads=_count(path, vision, "num_attention_heads", 12),
        text_heads=_count(path, text, "num_attention_heads", 8),
        image_resolution=_count(path, vision, "image_size", 224),
        preprocessing=_hugging_face_preprocessing(folder),
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
    # Missing settings have the default of open_clip.
    width, head_width = _count(path, vision, "width", 768), _count(path, vision, "head_width", 64)
    return Declared(
        activation=Activation.QUICK_GELU if model.get("quick_gelu", False) else Activation.GELU,
        vision_heads=width // head_width,
        text_heads=_count(path, text, "heads", 8),
        image_resolution=_count(path, vision, "image_size", 224),
        preprocessing=_open_clip_preprocessing(path, _section(path, config, "preprocess_cfg")),
    )


def to_metadata(shape: ClipShape) -> dict[str, str]:
    """Return activation, heads and preprocessing as metadata of a converted file."""
    return {
        "activation": shape.activation.value,
        "vision_heads": str(shape.vision_heads),
        "text_heads": str(shape.text_heads),
        "preprocessing": json.dumps(asdict(shape.preprocessing)),
    }


def from_metadata(metadata: Mapping[str, str]) -> Declared:
    """Parse the metadata of a converted file.

    Raises:
        WeightsError: a value is missing or invalid.
    """
    try:
        return Declared(
            Activation(metadata["activation"]),
            int(metadata["vision_heads"]),
            int(metadata["text_heads"]),
            preprocessing=_parse_preprocessing(metadata.get("preprocessing")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            "its metadata on activation, heads and preprocessing is invalid", hint="convert it again"
        ) from error


def _parse_preprocessing(text: str | None) -> Preprocessing:
    """Parse the metadata of a converted file; earlier files do not have them.

    Raises:
        KeyError: a value is missing.
        TypeError: a value is of another type.
        ValueError: a value is unknown, or not the JSON of a dictionary.
        WeightsError: mean or standard deviation are invalid.
    """
    if text is None:
        return OPENAI_PREPROCESSING
    values = dict(json.loads(text))
    mean, std = (_colours("its metadata", values, name) for name in ("mean", "std"))
    return Preprocessing(mean, std, Fit(values["fit"]), Resize(values["resize"]))


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


def _open_clip_preprocessing(path: Path, section: Mapping[str, Any]) -> Preprocessing:
    """Read ``preprocess_cfg``; missing settings have the default of open_clip, which is OpenAI's."""
    mode, filter_name = section.get("resize_mode"), section.get("interpolation")
    if mode not in [None, "shortest", "squash"]:  # a list: the value of a damaged file may have no hash
        _refuse_preprocessing(path, "resize_mode", mode)
    if filter_name not in [None, "random", "bicubic", "bilinear"]:  # "random" is bicubic but in training
        _refuse_preprocessing(path, "interpolation", filter_name)
    return Preprocessing(
        _colours(path, section, "mean"),
        _colours(path, section, "std"),
        Fit.SQUASH if mode == "squash" else Fit.CROP,
        Resize.BILINEAR if filter_name == "bilinear" else Resize.BICUBIC,
    )


def _hugging_face_preprocessing(folder: Path) -> Preprocessing:
    """Read ``preprocessor_config.json``, or its section in ``processor_config.json`` of newer models."""
    path = folder / "preprocessor_config.json"
    section = read_json_object(path)
    if section is None:
        path = folder / "processor_config.json"
        section = _section(path, read_json_object(path) or {}, "image_processor")
    size, resample = section.get("size"), section.get("resample", 3)
    is_squashed = isinstance(size, dict) and "height" in size and section.get("do_center_crop") is False
    if resample not in [*_PILLOW_FILTERS]:
        _refuse_preprocessing(path, "resample", resample)
    return Preprocessing(
        _colours(path, section, "image_mean"),
        _colours(path, section, "image_std"),
        Fit.SQUASH if is_squashed else Fit.CROP,
        _PILLOW_FILTERS[resample],
    )


def _colours(source: Path | str, section: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """Return values of R, G and B, or one for all; OpenAI's if missing, or equal but for rounding."""
    is_std = name.endswith("std")
    usual = OPENAI_PREPROCESSING.std if is_std else OPENAI_PREPROCESSING.mean
    given = section.get(name, list(usual))
    values = given if isinstance(given, list) else [given] * _NUM_CHANNELS
    if (
        len(values) != _NUM_CHANNELS
        or not all(type(value) in {int, float} and 0 <= value <= 1 for value in values)
        or (is_std and not all(values))
    ):
        _refuse_preprocessing(source, name, given)
    is_usual = all(abs(value - wanted) < 1e-3 for value, wanted in zip(values, usual, strict=True))
    return usual if is_usual else tuple(map(float, values))


def _refuse_preprocessing(source: Path | str, name: str, value: object) -> NoReturn:
    raise WeightsError(
        f"{source}: {name} is {format_value(value)}, which is not supported",
        hint="use a model whose images are cropped or squashed, resized by a bicubic or bilinear filter",
    )
