"""Presentation times, and the frames that rates and windows select by them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.sampled import SIZE, UNIFORM, numbers, xpool_indices
from tests.support.videos import (
    GoodVideos,
    drawn_number,
    ffmpeg_frames,
    ffmpeg_seconds,
    make_video,
)
from vopcli.errors import VideoError
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.timestamps import Timeline
from vopcli.video.video import count_sampled, read_frames
from vopcli.video.video_file import WHOLE, TimeWindow
from vopcli.video.windows import WHOLE_ONLY


@pytest.mark.parametrize(
    "name", ["long-gop.mp4", "edit-list.mp4", "variable-rate.mp4", "variable-rate.mkv", "mpeg-ts.ts"]
)
def test_times_are_those_of_ffmpeg(videos: GoodVideos, name: str) -> None:
    times = ffmpeg_seconds(videos[name])

    sampled = read_frames(str(videos[name]), UNIFORM, size=SIZE)

    expected = [times[index] for index in xpool_indices(12, len(times))]
    np.testing.assert_allclose(sampled.seconds, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["short-gop.mp4", "variable-rate.mp4", "mpeg-ts.ts"])
def test_frames_by_rate_are_those_on_the_screen(videos: GoodVideos, name: str) -> None:
    times, whole = ffmpeg_seconds(videos[name]), ffmpeg_frames(videos[name])
    shown = [
        max(k for k, time in enumerate(times) if time <= instant / 4 + 1e-9)
        for instant in range(int(times[-1] * 4) + 1)
    ]
    sampling = parse_sampling("fps:4")

    sampled = read_frames(str(videos[name]), sampling, size=SIZE)

    assert numbers(sampled) == [drawn_number(whole[index]) for index in sorted(set(shown))]
    assert count_sampled(str(videos[name]), sampling, WHOLE_ONLY) == [(WHOLE, sampled.num_real)]
    assert len(sampled.frames) == sampled.num_real


def test_a_rate_keeps_512_frames_of_a_long_window_unless_told_otherwise() -> None:
    """An hour at 25 frames per second has 3,600 whole seconds."""
    timeline = Timeline(range(25 * 3600), Fraction(1, 25), Fraction(25))

    hour = timeline.choose(parse_sampling("fps:1"), WHOLE)

    middles = [(3600 * k // 512 + 3600 * (k + 1) // 512) // 2 for k in range(512)]
    assert np.abs(np.array(hour) / 25 - middles).max() <= 1
    assert all(index % 25 == 0 for index in hour)
    assert timeline.choose(parse_sampling("fps:1"), TimeWindow(60, 70)) == list(range(1500, 1750, 25))
    assert len(timeline.choose(parse_sampling("fps:1:max=3600"), WHOLE)) == 3600


@pytest.mark.parametrize("name", ["short-gop.mp4", "edit-list.mp4", "variable-rate.mp4", "mpeg-ts.ts"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.3, 1.1), (0.72, 99.0)])
def test_a_window_hides_the_other_frames(videos: GoodVideos, name: str, start: float, end: float) -> None:
    times, whole = ffmpeg_seconds(videos[name]), ffmpeg_frames(videos[name])
    seen = [k for k, time in enumerate(times) if start <= round(time, 6) < end]
    wanted = [seen[index] for index in xpool_indices(5, len(seen))]
    window = TimeWindow(start, end)

    sampled = read_frames(str(videos[name]), Sampling("uniform", 5), size=SIZE, window=window)

    assert numbers(sampled) == [drawn_number(whole[index]) for index in wanted]
    np.testing.assert_allclose(sampled.seconds[: sampled.num_real], [times[k] for k in wanted], atol=1e-3)
    by_rate = parse_sampling("fps:1000")
    every = read_frames(str(videos[name]), by_rate, size=SIZE, window=window)
    assert numbers(every) == [drawn_number(whole[k]) for k in seen]
    assert count_sampled(str(videos[name]), by_rate, [window]) == [(window, len(seen))]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.1, 0.3, [1, 2]), (0.3, 0.4, [3]), (0.31, 0.41, [4]), (0.7, 0.8, [7]), (0.0, 0.1, [0])],
)
def test_a_window_is_half_open_at_decimal_times(
    tmp_path: Path, start: float, end: float, expected: list[int]
) -> None:
    path = make_video(tmp_path / "ten.mkv", num_frames=10, fps="10")  # 1/10 s has no exact float
    sampled = read_frames(str(path), parse_sampling("fps:100"), size=SIZE, window=TimeWindow(start, end))
    assert numbers(sampled) == expected


def test_a_window_without_a_frame(tmp_path: Path) -> None:
    path = str(make_video(tmp_path / "ten.mkv", num_frames=10, fps="10"))
    for window in (TimeWindow(1.0, 31.0), TimeWindow(0.31, 0.39), TimeWindow(0.5, 0.2)):
        said = rf"ten\.mkv: it has no frames in the window from {window}, the last is at 0\.9 s"
        with pytest.raises(VideoError, match=said):
            read_frames(path, UNIFORM, size=SIZE, window=window)
    with pytest.raises(VideoError, match="it has no frames in the window"):
        count_sampled(path, parse_sampling("fps:1"), [TimeWindow(1.0, 31.0)])


def test_a_window_of_a_damaged_video(videos: GoodVideos) -> None:
    path = str(videos["zero-tail.mp4"])
    whole = read_frames(path, parse_sampling("fps:1000"), size=SIZE)
    middle = float(whole.seconds[whole.num_real // 2])
    later = read_frames(path, Sampling("uniform", 3), size=SIZE, window=TimeWindow(middle, 99.0))
    assert min(numbers(later)) > numbers(whole)[whole.num_real // 2 - 1]
    assert later.seconds.min() >= middle
