"""The recipe of a frame store is complete or the store is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.stores import (
    RAW,
)
from tests.support.weights_files import TINY
from vopcli.clip.shape import OPENAI_PREPROCESSING, Preprocessing
from vopcli.config.choices import Codec, DatasetName, Fit, Resize
from vopcli.config.schema import DataConfig
from vopcli.errors import DataError
from vopcli.files.hdf5_writer import create_segment_file
from vopcli.frames.recipe import other_frames, requested_recipe, unlike_model
from vopcli.frames.rows import FRAME_FORMAT
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"recipe": None},
        {"recipe": {"sampling": "uniform:5", "size": 32, "resize": "x"}},
        {"recipe": {"sampling": 5, "size": 32, "resize": "x", "codec": "raw"}},
        {"recipe": {"sampling": "uniform:5", "size": 10**9, "resize": "x", "codec": "raw"}},
        {"recipe": {"sampling": "uniform:5", "size": 32, "resize": "x", "codec": "gif"}},
    ],
)
def test_a_store_without_a_whole_recipe_is_damaged(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = tmp_path / "store.h5"
    create_segment_file(path, FRAME_FORMAT, attributes)
    for opening in (FrameStore.open, FrameStoreWriter):
        with pytest.raises(DataError, match="its sampling and size are not readable") as caught:
            opening(path)
        assert caught.value.hint == (
            "copy it again, or create it again with `vop extract-frames SRC... STORE.h5 --overwrite`"
        )


def test_a_recipe_without_fit_is_of_cropped_frames(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    recorded = RAW.to_json()
    assert recorded.pop("fit") == "crop"
    create_segment_file(path, FRAME_FORMAT, {"recipe": recorded})
    assert FrameStore.open(path).recipe == RAW


def test_frames_of_another_fit_are_other_frames() -> None:
    cropped, squashed = RAW.to_json(), replace(RAW, fit=Fit.SQUASH).to_json()
    earlier = {name: value for name, value in cropped.items() if name != "fit"}
    assert other_frames(earlier, cropped) == other_frames(cropped, earlier) == []
    assert other_frames(earlier, squashed) == other_frames({}, squashed) == ["fit squash, not crop"]
    assert other_frames(squashed, earlier) == ["fit crop, not squash"]


def test_a_recipe_that_nobody_can_read(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    attributes = {"recipe": RAW.to_json() | {"sampling": "now and then"}}
    create_segment_file(path, FRAME_FORMAT, attributes)
    with pytest.raises(DataError, match="its sampling and size are not readable"):
        FrameStore.open(path)


def test_settings_go_before_what_is_recorded_and_that_before_the_defaults() -> None:
    plain = requested_recipe(DataConfig())
    assert str(plain) == "sampling uniform:12, windows auto, 224 x 224 pixels, raw"
    assert str(requested_recipe(DataConfig(dataset=DatasetName.MSVD)).windows) == "whole"
    recorded = {"sampling": "fps:1", "resize": "legacy-tensor", "windows": "5", "decode": "keyframes"}
    held = requested_recipe(DataConfig(size=64), {**recorded, "fit": "pad", "size": 48})
    assert held.to_json() == {**recorded, "fit": "pad", "size": 48, "codec": "raw"}
    given = DataConfig(sampling="uniform", windows="7", fit=Fit.SQUASH, codec=Codec.JPEG)
    shape = replace(TINY, preprocessing=Preprocessing(fit=Fit.SQUASH, resize=Resize.BILINEAR))
    model = requested_recipe(DataConfig(size=64), shape=shape)
    assert (model.size, model.fit, model.resize) == (24, Fit.SQUASH, Resize.BILINEAR)
    assert unlike_model(plain.to_json(), shape.preprocessing) == [
        "resize bicubic, not bilinear",
        "fit crop, not squash",
    ]
    assert unlike_model(model.to_json(), shape.preprocessing) == []
    assert unlike_model(held.to_json(), OPENAI_PREPROCESSING) == []
    assert requested_recipe(given, recorded).to_json() == {
        "sampling": "uniform:12",
        "resize": "legacy-tensor",
        "windows": "7",
        "decode": "keyframes",
        "fit": "squash",
        "size": 224,
        "codec": "jpeg",
    }
