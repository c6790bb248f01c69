"""Frames and pixels as the model takes them: of new indexes, frame stores, and pictures as queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from tests.support.clip import random_state, tiny_clip
from tests.support.encoding import SIZE, change, request_for, run
from tests.support.models import write_model
from tests.support.peers import open_clip_model
from tests.support.progress import Warnings
from tests.support.videos import numbered_frame
from vopcli.clip.shape import Preprocessing
from vopcli.config.choices import Activation, Fit, Resize
from vopcli.encoding.encode import encode
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.image_model import ImageModel
from vopcli.search.text_tower import ModelSource

HALF = (0.5, 0.5, 0.5)
SHAPE = replace(
    tiny_clip(Activation.GELU), preprocessing=Preprocessing(HALF, HALF, Fit.SQUASH, Resize.BILINEAR)
)


@pytest.fixture(scope="module")
def squashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "squashing.safetensors", shape=SHAPE)


def test_a_new_index_has_frames_as_the_model_takes_them(
    videos: Path, squashing: Path, tmp_path: Path
) -> None:
    request = request_for(videos, tmp_path / "i.h5", squashing)
    run(request)
    index = VideoIndex(request.index)
    assert (index.meta.recipe["fit"], index.meta.recipe["resize"]) == ("squash", "bilinear")
    model = ImageModel(index, ModelSource(tmp_path, SilentProgress()))
    for video in index.videos():
        np.testing.assert_allclose(model.embed_video(video.file), index.embedding_of(video.row), atol=1e-6)

    picture = numbered_frame(77, width=96, height=48)
    config = PreprocessCfg(SIZE, mean=HALF, std=HALF, interpolation="bilinear", resize_mode="squash")
    pixels = image_transform_v2(config, is_train=False)(Image.fromarray(picture))
    peer = open_clip_model(SHAPE, random_state(SHAPE))
    expected = peer.encode_image(pixels[None], normalize=True)[0].numpy()
    np.testing.assert_allclose(model.embed_picture(picture), expected, atol=1e-5)

    given = change(request, index=tmp_path / "given.h5", fit=Fit.CROP, resize=Resize.BICUBIC)
    run(given)
    recipe = VideoIndex(given.index).meta.recipe
    assert (recipe["fit"], recipe["resize"]) == ("crop", "bicubic")


def test_a_store_of_other_frames_than_the_model_takes(
    store: Path, squashing: Path, weights: Path, tmp_path: Path
) -> None:
    told = Warnings()
    encode(request_for(store, tmp_path / "i.h5", squashing), told)
    differences = "resize bicubic, not bilinear; fit crop, not squash"
    assert told.warnings == [f"the frames of {store} differ from the model's: {differences}"]
    encode(request_for(store, tmp_path / "usual.h5", weights), told)
    assert len(told.warnings) == 1
