"""Packets: files that are no videos are refused, and large videos give the same as small ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.sampled import SIZE, UNIFORM
from tests.support.videos import (
    BAD,
    GoodVideos,
    make_video,
)
from vopcli.errors import VideoError
from vopcli.video import packets
from vopcli.video.video import read_frames


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_says_why(tmp_path: Path, name: str) -> None:
    make, expected = BAD[name]
    make(tmp_path / name)

    with pytest.raises(VideoError, match=expected) as error:
        read_frames(str(tmp_path / name), UNIFORM, size=SIZE)

    assert str(tmp_path / name) in str(error.value)
    assert error.value.hint


def test_odd_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = make_video(tmp_path / "plain.mp4", num_frames=3).read_bytes()
    for name in [
        "-i.mp4",
        "concat:a|b.mp4",
        "two\nlines and spaces.mp4",
        os.fsdecode(b"caf\xe9.mp4"),
        "http:x.mp4",
    ]:
        Path(name).write_bytes(plain)
        assert read_frames(name, UNIFORM, size=SIZE).num_real == 3


@pytest.mark.parametrize(
    "name", ["short-gop.mp4", "open-gop.ts", "mpeg-ts.ts", "mpeg4-b.avi", "vp9.webm", "raw-stream.h264"]
)
def test_a_video_too_large_to_hold_gives_the_same(
    videos: GoodVideos, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = read_frames(str(videos[name]), UNIFORM, size=SIZE)
    monkeypatch.setattr(packets, "HELD_BYTES", 0)

    searched = read_frames(str(videos[name]), UNIFORM, size=SIZE)

    np.testing.assert_array_equal(searched.frames, held.frames)
    assert searched.info == held.info
