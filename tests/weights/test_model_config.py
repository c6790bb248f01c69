from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vopcli.clip.shape import OPENAI_PREPROCESSING, Preprocessing
from vopcli.config.choices import Activation, Fit, Resize
from vopcli.errors import WeightsError
from vopcli.weights.model_config import (
    Declared,
    read_hugging_face_config,
    read_json_object,
    read_open_clip_config,
)

open_clip = pytest.importorskip("open_clip")
CONFIGS = Path(open_clip.__file__).parent / "model_configs"

# Heads as the models' papers have them: width over 64, but 80 for the vision tower of ViT-H/14.
RUN = {
    "ViT-B-32": Declared(Activation.GELU, 12, 8, 224),
    "ViT-B-32-quickgelu": Declared(Activation.QUICK_GELU, 12, 8, 224),
    "ViT-L-14-336-quickgelu": Declared(Activation.QUICK_GELU, 16, 12, 336),
    "ViT-H-14": Declared(Activation.GELU, 16, 16, 224),
    "ViT-S-16-alt": Declared(Activation.GELU, 6, 4, 224),
}
REFUSED = {
    "EVA02-L-14": "custom_text",
    "ViT-B-16-SigLIP": "custom_text, init_logit_bias",
    "ViT-L-14-CLIPA": "no_ln_pre",
    "ViT-bigG-14": "mlp_ratio is 4.9231",
    "coca_ViT-B-32": "multimodal_cfg",
    "convnext_base": "timm_model_name",
    "roberta-ViT-B-32": "hf_model_name",
}


@pytest.mark.parametrize("name", RUN)
def test_configurations_of_open_clip_that_run(tmp_path: Path, name: str) -> None:
    shutil.copy(CONFIGS / f"{name}.json", tmp_path / "open_clip_config.json")
    assert read_open_clip_config(tmp_path) == RUN[name]


def test_preprocessing_of_open_clip(tmp_path: Path) -> None:
    model = json.loads((CONFIGS / "ViT-B-32.json").read_text())
    pixels = {"mean": 0.5, "std": [0.5, 0.4, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}
    expected = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.4, 0.3), Fit.SQUASH, Resize.BILINEAR)
    for section, found in ((pixels, expected), ({"interpolation": "random"}, OPENAI_PREPROCESSING)):
        config = {"model_cfg": model, "preprocess_cfg": section}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        assert read_open_clip_config(tmp_path).preprocessing == found


@pytest.mark.parametrize("value", ["other", ["bicubic"], {}])
def test_other_preprocessing_is_refused(tmp_path: Path, value: object) -> None:
    model = json.loads((CONFIGS / "ViT-B-32.json").read_text())
    for name in ("resize_mode", "interpolation"):
        config = {"model_cfg": model, "preprocess_cfg": {name: value}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=f"{name} is .*, which is not supported"):
            read_open_clip_config(tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_configurations_of_open_clip_that_are_refused(tmp_path: Path, name: str) -> None:
    shutil.copy(CONFIGS / f"{name}.json", tmp_path / "open_clip_config.json")
    with pytest.raises(WeightsError, match=REFUSED[name]):
        read_open_clip_config(tmp_path)


def test_without_configuration_nothing_is_declared(tmp_path: Path) -> None:
    assert read_open_clip_config(tmp_path) == read_hugging_face_config(tmp_path) == Declared()


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b"{", b'{"a":' * 100_000, b" " * (1 << 22) + b"{}"])
def test_json_that_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json is not "):
        read_json_object(tmp_path / "config.json")
