"""Estimates of a dry run, against the real hours and the time of real decoding."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.videos import make_video
from vopcli.video.estimate import Estimate, decoding_time, estimate_work, format_seconds
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import FrameSpec, read_windows
from vopcli.video.video_file import WHOLE, TimeWindow, VideoFile

SPEC = FrameSpec(parse_sampling("uniform:4"), 32)
PARTS = [(TimeWindow(0.0, 1.0), 4), (TimeWindow(1.0, 2.0), 4), (WHOLE, 4)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> VideoFile:
    path = make_video(tmp_path_factory.mktemp("films") / "film.mp4", num_frames=50)
    return VideoFile(str(path.parent), path.name, 1, 2)


def test_hours_windows_and_basis_of_a_few_videos(film: VideoFile, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    short = VideoFile(str(make_video(tmp_path / "s.mp4", num_frames=25).parent), "s.mp4", 1, 2)
    found = estimate_work([(film, PARTS), (short, [(WHOLE, 4)])], SPEC, workers=0)
    assert (found.num_files, found.num_windows) == (2, 2)
    assert found.hours * 3600 == pytest.approx(2 + 1, abs=0.1)
    assert found.seconds is not None
    assert found.basis == "estimated by decoding 16 frames of 2 files"
    bad = VideoFile(str(tmp_path), "bad.mp4", 1, 2)
    unknown = estimate_work([(bad, [(WHOLE, 4)])], SPEC, workers=0)
    assert (unknown.hours, unknown.seconds) == (0, None)
    assert "unknown time (no frame was decoded" in str(unknown)


def test_the_time_of_many_videos_is_that_of_a_sample(film: VideoFile) -> None:
    began = time.monotonic()
    for _ in range(5):
        list(read_windows(film.file, [WHOLE], SPEC))
    each = (time.monotonic() - began) / 5
    began = time.monotonic()
    seconds, _ = decoding_time([(film, [(WHOLE, 4)])] * 20_000, SPEC, workers=1, most_seconds=0.3)
    assert time.monotonic() - began < 3
    assert seconds == pytest.approx(20_000 * each, rel=0.8)


def test_a_long_video_is_not_decoded_to_its_end(film: VideoFile) -> None:
    seconds, basis = decoding_time([(film, PARTS)], SPEC, workers=1, most_seconds=0.0)
    assert (seconds, basis) == (None, "no frame was decoded in a few seconds")
    assert decoding_time([], SPEC, workers=1) == (None, "nothing to decode")


def test_durations_have_the_unit_that_suits() -> None:
    assert [format_seconds(value) for value in (0.2, 99.4, 150, 9000)] == ["0 s", "99 s", "2 min", "2.5 h"]
    text = str(Estimate(3, 1.234, 5, 150.0, "a basis"))
    assert text == "3 files, 1.23 hours of video, 5 windows, about 2 min (a basis)"
