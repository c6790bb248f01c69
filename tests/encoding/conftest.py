"""A tiny model, three videos, and a frame store of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.encoding import SHORT, SIZE
from tests.support.videos import make_video
from vopcli.config.schema import DataConfig
from vopcli.frames.extract import ExtractRequest, extract
from vopcli.progress import SilentProgress


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    (folder / "below").mkdir()
    make_video(folder / "a.mp4", num_frames=30)
    make_video(folder / "below" / "b.mp4", "-vf", "negate", num_frames=30)
    make_video(folder / SHORT, num_frames=2)
    return folder


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "frames.h5"
    extract(
        ExtractRequest([videos], path, DataConfig(sampling="uniform", num_frames=4, size=SIZE, workers=0)),
        SilentProgress(),
    )
    return path
