"""Windows of long videos: how they are divided, and that one pass gives the same frames as one pass each."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.sampled import SIZE, UNIFORM, numbers
from tests.support.videos import GoodVideos, make_video
from vopcli.config.choices import DecodeRule
from vopcli.errors import UsageError, VideoError
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.video import FrameSpec, count_sampled, read_frames, read_windows, stated_duration
from vopcli.video.video_file import WHOLE, TimeWindow
from vopcli.video.windows import WHOLE_ONLY, WindowRule, parse_windows

HALVES = [TimeWindow(0.0, 0.6), TimeWindow(0.6, 99.0), WHOLE]


def test_a_long_video_has_equal_windows_and_the_whole_video_last() -> None:
    assert WindowRule().windows(31.0) == (
        TimeWindow(0.0, 7.75),
        TimeWindow(7.75, 15.5),
        TimeWindow(15.5, 23.25),
        TimeWindow(23.25, 31.0),
        WHOLE,
    )
    assert len(WindowRule().windows(3600.0)) == 361
    assert len(WindowRule().windows(3600.1)) == 362


@pytest.mark.parametrize(
    ("text", "duration", "expected"),
    [
        ("auto", 30.0, 1),
        ("auto", 30.01, 5),
        ("whole", 9999.0, 1),
        ("5", 15.0, 1),
        ("5", 16.0, 5),
        ("0.5", 2, 5),
    ],
)
def test_number_of_windows(text: str, duration: float, expected: int) -> None:
    windows = parse_windows(text).windows(duration)
    assert len(windows) == expected
    assert windows[-1] == WHOLE
    for first, second in pairwise(windows[:-1]):
        assert first.end_seconds == second.start_seconds


@pytest.mark.parametrize("text", ["auto", "whole", "5", "0.5", "30"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_windows(text)) == text
    assert parse_windows(f" {text.upper()} ") == parse_windows(text)


@pytest.mark.parametrize("text", ["", "half", "0", "-1", "nan", "inf", "1e9", "99999999", "1,5"])
def test_an_unknown_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown windows"):
        parse_windows(text)


@pytest.mark.parametrize(
    "name", ["long-gop.mp4", "open-gop.ts", "variable-rate.mp4", "vp9.webm", "zero-tail.mp4"]
)
@pytest.mark.parametrize("rule", ["uniform:12", "uniform:4x3", "fps:5", "clip4clip:3"])
def test_one_pass_gives_the_frames_of_each_window(videos: GoodVideos, name: str, rule: str) -> None:
    path, sampling = str(videos[name]), parse_sampling(rule)
    found = list(read_windows(path, HALVES, FrameSpec(sampling, SIZE)))

    assert sorted(part.window.start_seconds for part in found) == [0.0, 0.0, 0.6]
    assert found[-1].window == WHOLE  # its last frame is the last of all
    for part in found:
        alone = read_frames(path, sampling, size=SIZE, window=part.window)
        np.testing.assert_array_equal(part.frames, alone.frames)
        np.testing.assert_array_equal(part.seconds, alone.seconds)
        assert (part.num_real, part.info) == (alone.num_real, alone.info)


def test_a_window_is_passed_on_before_the_next_is_decoded(tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mp4", num_frames=100, fps="10")
    ticks = []
    parts = read_windows(
        str(path), WindowRule(2.0).windows(10.0), FrameSpec(UNIFORM, SIZE), tick=lambda: ticks.append(1)
    )
    counts = []
    for part in parts:
        counts.append(len(ticks))
        if part.window != WHOLE:
            assert part.seconds.min() >= part.window.start_seconds
            assert part.seconds.max() < part.window.end_seconds
    assert len(counts) == 6
    assert all(later - earlier >= 5 for earlier, later in pairwise(counts[:5]))


def test_a_window_without_frames_is_empty(tmp_path: Path) -> None:
    path = str(make_video(tmp_path / "ten.mkv", num_frames=10, fps="10"))
    found = {
        part.window: part for part in read_windows(path, [TimeWindow(5, 9), WHOLE], FrameSpec(UNIFORM, SIZE))
    }
    assert found[TimeWindow(5, 9)].frames.shape == (0, SIZE, SIZE, 3)
    assert found[TimeWindow(5, 9)].num_real == 0
    assert found[WHOLE].num_real == 10


def test_key_frames_nearest_to_the_exact_ones(tmp_path: Path) -> None:
    path = str(make_video(tmp_path / "keys.mp4", "-g", "10", "-bf", "0", num_frames=50, fps="10"))
    sampling = Sampling("uniform", 10)
    exact = read_frames(path, sampling, size=SIZE)
    [found] = read_windows(path, [WHOLE], FrameSpec(sampling, SIZE, decode=DecodeRule.KEYFRAMES))

    keys = [0, 10, 20, 30, 40]
    expected = [min(keys, key=lambda key: abs(key - number)) for number in numbers(exact)]
    assert numbers(found) == expected
    assert found.seconds.tolist() == [number / 10 for number in expected]


def test_key_frames_of_a_video_without_any_seek(videos: GoodVideos) -> None:
    """A format whose packets have no times is decoded exactly."""
    path = str(videos["mpeg4.avi"])
    [found] = read_windows(path, [WHOLE], FrameSpec(UNIFORM, SIZE, decode=DecodeRule.KEYFRAMES))
    assert found.num_real == 12


@pytest.mark.parametrize("name", ["long-gop.mp4", "vp9.webm"])
def test_windows_and_counts_of_a_file(videos: GoodVideos, name: str) -> None:
    path, sampling = str(videos[name]), parse_sampling("fps:10")
    duration = stated_duration(path)
    assert duration is not None
    assert duration == pytest.approx(read_frames(path, sampling, size=SIZE).info.duration_seconds, abs=0.05)
    rule = WindowRule(duration / 4)
    counted = count_sampled(path, sampling, rule)
    assert [window for window, _ in counted] == list(rule.windows(duration))
    decoded = {
        p.window: len(p.frames) for p in read_windows(path, rule.windows(duration), FrameSpec(sampling, SIZE))
    }
    assert dict(counted) == decoded
    assert count_sampled(path, UNIFORM, WHOLE_ONLY) == [(WHOLE, 12)]


def test_a_damaged_header_does_not_make_windows_without_frames(tmp_path: Path) -> None:
    """20 frames in 14 kB; the header states 15 days, first by a wrong length, then by a wrong rate."""
    film = make_video(tmp_path / "a.avi", num_frames=20)
    rule, spec = WindowRule(10_000.0), FrameSpec(UNIFORM, SIZE)
    content, header = bytearray(film.read_bytes()), film.read_bytes().index(b"strh") + 8
    for scale, rate, length, windows in ((1, 25, 1 << 25, 0), (67_109, 1, 20, 19), (1 << 31, 1, 20, None)):
        struct.pack_into("<2I", content, header + 20, scale, rate)
        struct.pack_into("<I", content, header + 32, length)
        film.write_bytes(content)
        assert (stated_duration(str(film)) or 0) > 1_300_000
        if windows is None:
            with pytest.raises(VideoError, match=r"span [\d,]+ days, more than 200,000 windows"):
                count_sampled(str(film), UNIFORM, rule)
        else:
            counted = count_sampled(str(film), UNIFORM, rule)
            assert [count for _, count in counted] == [12] * (windows + 1)
            assert counted[-1][0] == WHOLE
            decoded = read_windows(str(film), [window for window, _ in counted], spec)
            assert all(len(sampled.seconds) for sampled in decoded)


def test_a_window_is_half_open() -> None:
    assert not math.isfinite(WHOLE.end_seconds)
