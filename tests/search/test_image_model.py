"""Pictures and videos as queries: open_clip's embeddings, and those that the index has of its own videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.encoding import SIZE, change, request_for, run
from tests.support.models import open_clip_frames, write_model
from tests.support.videos import make_video, numbered_frame
from vopcli.errors import UsageError, VideoError, WeightsError
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.image_model import ImageModel
from vopcli.search.text_tower import ModelSource
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import read_frames
from vopcli.video.video_file import TimeWindow

FRAME = numbered_frame(77, width=64, height=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two indexes of a video of 2 s and one of 2 frames: frames cropped, and squashed."""
    folder = tmp_path_factory.mktemp("videos")
    weights = write_model(folder / "tiny.safetensors")
    (folder / "v").mkdir()
    make_video(folder / "v" / "a.mp4", num_frames=50)
    make_video(folder / "v" / "short.mp4", num_frames=2)
    request = request_for(folder / "v", folder / "crop.h5", weights)
    run(request)
    run(change(request, index=folder / "squash.h5", fit="squash"))
    return folder


def model_of(folder: Path, name: str = "crop") -> ImageModel:
    return ImageModel(VideoIndex(folder / f"{name}.h5"), ModelSource(folder, SilentProgress()))


def test_a_picture_is_embedded_as_open_clip_does(folder: Path) -> None:
    found = model_of(folder).embed_picture(FRAME)
    np.testing.assert_allclose(
        found, open_clip_frames(FRAME[None])[0], atol=1e-3
    )  # pixels differ by up to a level


@pytest.mark.parametrize("name", ["crop", "squash"])
def test_a_video_is_embedded_as_the_index_has_it(folder: Path, name: str) -> None:
    """Mean over all frames, the repeated ones of a short video too; frames fitted as those of the index."""
    index, model = VideoIndex(folder / f"{name}.h5"), model_of(folder, name)
    for video in index.videos():
        np.testing.assert_allclose(model.embed_video(video.file), index.embedding_of(video.row), atol=1e-6)


def test_a_part_of_a_video_is_embedded(folder: Path) -> None:
    path = str(folder / "v" / "a.mp4")
    model = model_of(folder)
    for text, window in (("1-2", TimeWindow(1, 2)), ("0:01.5", TimeWindow(1.5, 99))):
        sampled = read_frames(path, parse_sampling("uniform:4"), size=SIZE, window=window)
        expected = open_clip_frames(sampled.frames).mean(axis=0)
        found = model.embed_video(f"{path}@{text}")
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("time", ["2.5", "1.5-1.5", "1.5-1"])
def test_a_time_outside_the_video_is_refused(folder: Path, time: str) -> None:
    with pytest.raises(UsageError, match=r"has no frames.* has 2 s") as caught:
        model_of(folder).embed_video(f"{folder / 'v' / 'a.mp4'}@{time}")
    assert "give a range within it" in caught.value.hint


def test_a_file_that_is_no_video_is_refused(folder: Path) -> None:
    (folder / "text.mp4").write_text("no video")
    for name in ("text.mp4", "gone.mp4", "gone.mp4@1-2"):
        with pytest.raises(VideoError, match=name.partition("@")[0]):
            model_of(folder).embed_video(str(folder / name))


def test_the_weights_must_be_those_of_the_index(folder: Path) -> None:
    other = write_model(folder / "other.safetensors", seed=1)
    with pytest.raises(WeightsError, match="is not the model of the index"):
        ImageModel(VideoIndex(folder / "crop.h5"), ModelSource(folder, SilentProgress(), str(other)))
