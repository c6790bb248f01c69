"""Frames come upright and in the colours of FFmpeg."""

from __future__ import annotations

import gc
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.sampled import LEVELS, SIZE, UNIFORM, pillow_square
from tests.support.videos import (
    GoodVideos,
    ffmpeg_frames,
    make_video,
)
from vopcli.video.sampling import Sampling
from vopcli.video.video import read_frames


@pytest.mark.parametrize("name", ["rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4", "mirrored.mp4"])
def test_the_size_is_that_displayed(videos: GoodVideos, name: str) -> None:
    info = read_frames(str(videos[name]), UNIFORM, size=SIZE).info

    assert (info.width, info.height) == (128, 96)
    assert (info.num_frames, info.codec) == (24, "h264")
    assert info.rotation_degrees == (int(name[8:-4]) if name.startswith("rotated") else 180)
    assert info.duration_seconds == pytest.approx(0.96)
    assert info.fps == pytest.approx(25)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc", None])
@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
def test_colours_follow_matrix_and_range(tmp_path: Path, matrix: str | None, *, full_range: bool) -> None:
    tags = f"colorprim=bt709:range={'pc' if full_range else 'tv'}" + (
        f":colormatrix={matrix}" if matrix else ""
    )
    path = make_video(tmp_path / "tagged.mp4", "-x264-params", tags, num_frames=12)
    whole = ffmpeg_frames(path)

    sampled = read_frames(str(path), UNIFORM, size=SIZE)

    np.testing.assert_allclose(
        sampled.frames, np.stack([pillow_square(frame) for frame in whole]), atol=LEVELS
    )


def test_converted_frames_leave_memory_at_once(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=20)
    gc.collect()
    gc.disable()
    try:
        sampled = read_frames(str(path), Sampling("uniform", 20), size=SIZE)
        kept = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()

    assert sampled.num_real == 20
    assert kept <= 3  # the first frame, of which the rotation is read
