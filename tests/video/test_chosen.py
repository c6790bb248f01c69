"""Stills are the frames that FFmpeg shows at these times, whole and upright."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import GOOD, drawn_number, ffmpeg_frames, ffmpeg_seconds, flip_bits, make_video
from vopcli.video.chosen import read_stills

SECONDS = [0.9, 0.0, 0.41, 0.9, 50.0]


@pytest.mark.parametrize(
    "name",
    ["open-gop.ts", "variable-rate.mkv", "rotated-90.mp4", "odd-size.mp4", "raw-stream.h264", "mpeg4-b.avi"],
)
def test_the_frames_on_the_screen_at_given_times(name: str, tmp_path: Path) -> None:
    source = GOOD[name](tmp_path / name)
    times, frames = ffmpeg_seconds(source), ffmpeg_frames(source)
    shown = [bisect_right(times, second + 1e-9) - 1 for second in SECONDS]
    stills = read_stills(str(source), SECONDS, (1000, 1000))
    assert [drawn_number(still) for still in stills] == [drawn_number(frames[place]) for place in shown]
    assert {still.shape for still in stills} == {frames[0].shape}
    assert all(
        np.abs(still - frames[place].astype(int)).mean() < 1
        for still, place in zip(stills, shown, strict=True)
    )


def test_larger_frames_are_shrunk_and_keep_their_shape(tmp_path: Path) -> None:
    source = make_video(tmp_path / "video.mp4", width=320, height=96, num_frames=4)
    (still,) = read_stills(str(source), [0.0], (160, 160))
    assert still.shape == (48, 160, 3)


def test_damaged_packets_do_not_shift_the_frames(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", "-g", "15", num_frames=90)
    source = flip_bits(tmp_path / "bad.ts", whole, start=0.3, end=0.5, every=2000)
    assert [drawn_number(still) for still in read_stills(str(source), [0.0, 3.0], (128, 96))] == [0, 75]
