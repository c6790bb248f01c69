"""Frames are counted from the packets, in the order of the videos, and failures are told apart."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.videos import make_video
from vopcli.progress import SilentProgress
from vopcli.video.count import count_frames
from vopcli.video.sampling import Sampling
from vopcli.video.video_file import WHOLE, TimeWindow, VideoFile
from vopcli.video.windows import WindowRule


@pytest.fixture
def videos(tmp_path: Path) -> list[VideoFile]:
    make_video(tmp_path / "b.mp4", num_frames=50, fps="25")
    make_video(tmp_path / "a.mp4", num_frames=25, fps="25")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    return [VideoFile(os.fspath(tmp_path), name, 1, 1) for name in ("b.mp4", "text.mp4", "a.mp4")]


@pytest.mark.parametrize("workers", [0, 2])
def test_rates_take_as_many_frames_as_a_video_has(videos: list[VideoFile], workers: int) -> None:
    counted, failed = count_frames(
        videos,
        Sampling("fps", None, Fraction(5)),
        workers=workers,
        progress=SilentProgress(),
        windows_of=lambda path: (TimeWindow(0.0, 1.0),) if path == "b.mp4" else None,
    )
    assert counted == [(videos[0], [(TimeWindow(0.0, 1.0), 5)]), (videos[2], [(WHOLE, 5)])]
    assert [video for video, _ in failed] == [videos[1]]
    assert failed[0][1].startswith("not a video that can be read")
    counted, _ = count_frames(
        videos[:1], Sampling("fps", None, Fraction(5)), workers=workers, progress=SilentProgress()
    )
    assert counted == [(videos[0], [(WHOLE, 10)])]


def test_a_fixed_number_needs_no_file(tmp_path: Path) -> None:
    missing = [VideoFile(os.fspath(tmp_path), "none.mp4", 1, 1)]
    sampling = Sampling("uniform", 4, candidates=3)
    assert count_frames(missing, sampling, workers=0, progress=SilentProgress()) == (
        [(missing[0], [(WHOLE, 12)])],
        [],
    )


def test_a_rule_divides_the_videos(videos: list[VideoFile]) -> None:
    counted, failed = count_frames(
        videos, Sampling("uniform", 4), WindowRule(0.5), workers=0, progress=SilentProgress()
    )
    assert [(video.path, len(windows)) for video, windows in counted] == [("b.mp4", 5), ("a.mp4", 1)]
    assert counted[0][1][-1] == (WHOLE, 4)
    assert [video.path for video, _ in failed] == ["text.mp4"]
