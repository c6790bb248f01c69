from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from tests.support.videos import (
    BAD,
    GOOD,
    GoodVideos,
    drawn_number,
    ffmpeg_frames,
    ffmpeg_seconds,
    flip_bits,
    make_video,
)
from vopcli.errors import VideoError
from vopcli.video import packets
from vopcli.video import video as video_module
from vopcli.video.decoder import OpenVideo
from vopcli.video.packets import VideoPacket
from vopcli.video.sampling import Sampling, TimeWindow, parse_sampling
from vopcli.video.video import SampledFrames, count_sampled, read_frames

SIZE = 64
# Frames are counted as they come out of the decoder: there is nothing else to tell them by.
REORDERED_WITHOUT_TIMES = {"raw-stream.h264", "mpeg4-b.avi", "h264.avi", "xvid.avi"}
# What the packets promise is not what the decoder gives.
DAMAGED = {"zero-tail.mp4", "truncated.mp4", "truncated.ts", "truncated.webm", "no-keyframe-table.mp4"}
UNIFORM = Sampling("uniform", 12)

# What two FFmpeg versions may differ by: rounding in the inverse transforms of old codecs.
LEVELS = 3


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> GoodVideos:
    return GoodVideos(tmp_path_factory.mktemp("videos"))


def xpool_indices(num_frames: int, num_presentable: int) -> list[int]:
    """X-Pool's own formula: segment bounds by linspace and truncation, then the middles."""
    bounds = np.linspace(0, num_presentable, min(num_frames, num_presentable) + 1).astype(int)
    return [int(start + end - 1) // 2 for start, end in itertools.pairwise(bounds)]


def pillow_square(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """CLIP's preprocessing, by Pillow, the whole frame before the crop."""
    height, width = frame.shape[:2]
    short, long = min(width, height), max(width, height)
    wide, tall = (int(SIZE * long / short), SIZE) if width > height else (SIZE, int(SIZE * long / short))
    left, top = round((wide - SIZE) / 2), round((tall - SIZE) / 2)
    across = Image.fromarray(frame).resize((wide, height), Image.Resampling.BICUBIC)
    resized = across.resize((wide, tall), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def numbers(sampled: SampledFrames) -> list[int]:
    return [drawn_number(frame) for frame in sampled.frames[: sampled.num_real]]


@pytest.mark.parametrize("name", [name for name in GOOD if not name.startswith(("truncated", "zero-tail"))])
def test_sampled_frames_are_those_of_ffmpeg(videos: GoodVideos, name: str) -> None:
    whole = ffmpeg_frames(videos[name])
    wanted = xpool_indices(12, len(whole))

    sampled = read_frames(str(videos[name]), UNIFORM, size=SIZE)

    assert sampled.info.num_frames == len(whole)
    assert (sampled.info.height, sampled.info.width) == whole.shape[1:3]
    assert sampled.num_bad_packets == 0
    assert sampled.num_real == len(wanted)
    assert numbers(sampled) == [drawn_number(whole[index]) for index in wanted]
    assert min(numbers(sampled)) >= 0
    expected = np.stack([pillow_square(whole[index]) for index in wanted])
    np.testing.assert_allclose(sampled.frames[: len(wanted)], expected, atol=LEVELS)


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
    assert count_sampled(str(videos[name]), sampling) == len(sampled.frames) == sampled.num_real


def test_short_video_repeats_its_last_frame(videos: GoodVideos) -> None:
    sampled = read_frames(str(videos["seven-frames.mp4"]), UNIFORM, size=SIZE)

    assert [drawn_number(frame) for frame in sampled.frames] == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert sampled.num_real == 7
    np.testing.assert_allclose(sampled.seconds, [0, 0.04, 0.08, 0.12, 0.16, 0.2] + [0.24] * 6)


@pytest.mark.parametrize("name", ["truncated.webm", "truncated.mp4", "truncated.ts", "zero-tail.mp4"])
def test_truncated_video_is_sampled_over_what_is_left(videos: GoodVideos, name: str) -> None:
    left = [number for number in map(drawn_number, ffmpeg_frames(videos[name])) if number >= 0]
    left = left[: 1 + max(range(len(left)), key=lambda place: left[place])]

    sampled = read_frames(str(videos[name]), UNIFORM, size=SIZE)

    assert sampled.num_real == 12
    assert 20 < len(left) < 89
    assert abs(sampled.info.num_frames - len(left)) <= 2
    assert numbers(sampled) == [left[index] for index in xpool_indices(12, sampled.info.num_frames)]


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


def test_very_large_frames(tmp_path: Path) -> None:
    codec = ("-c:v", "mjpeg", "-q:v", "8", "-vf", "scale=7680:4320:flags=neighbor")
    path = make_video(tmp_path / "8k.mov", num_frames=2, height=72, codec=codec)

    sampled = read_frames(str(path), UNIFORM, size=224)

    assert (sampled.info.width, sampled.info.height) == (7680, 4320)
    assert numbers(sampled) == [0, 1]


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".webm"])
@pytest.mark.parametrize("every", [2000, 200, 20])
def test_flipped_bits_neither_crash_nor_blacken(tmp_path: Path, suffix: str, every: int) -> None:
    codec = {".avi": ("-c:v", "mjpeg"), ".webm": ("-c:v", "libvpx", "-b:v", "500k")}.get(suffix)
    whole = tmp_path / f"whole{suffix}"
    make_video(whole, "-g", "20", num_frames=90, **({"codec": codec} if codec else {}))
    damaged = flip_bits(tmp_path / f"damaged{suffix}", whole, start=0.2, end=0.8, every=every)

    try:
        sampled = read_frames(str(damaged), UNIFORM, size=SIZE)
    except VideoError as error:
        assert "frames can be decoded" in str(error)  # noqa: PT017
    else:
        assert sampled.num_real >= 5
        assert sampled.frames[: sampled.num_real].mean(axis=(1, 2, 3)).min() > 5
        assert numbers(sampled)[0] < 10
        assert every > 20 or sampled.num_bad_packets > 0


def test_a_file_of_broken_frames_says_so(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", codec=("-c:v", "mjpeg"), num_frames=30)
    content = bytearray(whole.read_bytes())
    while (start := content.find(b"\xff\xd8\xff")) >= 0:
        content[start : start + 600] = bytes(600)
    (tmp_path / "broken.mkv").write_bytes(content)

    with pytest.raises(VideoError, match="none of its 30 frames can be decoded") as error:
        read_frames(str(tmp_path / "broken.mkv"), UNIFORM, size=SIZE)
    assert "damaged" in error.value.hint


@pytest.mark.parametrize("name", [name for name in GOOD if name not in REORDERED_WITHOUT_TIMES | DAMAGED])
def test_sound_videos_are_decoded_once(
    videos: GoodVideos, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode_twice(*_: object) -> SampledFrames:
        raise AssertionError("the fast way missed a frame")

    monkeypatch.setattr(video_module, "_read_damaged", decode_twice)

    assert read_frames(str(videos[name]), UNIFORM, size=SIZE).num_real >= 1


@pytest.mark.parametrize(
    "name", ["long-gop.mp4", "short-gop.mp4", "open-gop.ts", "hevc.mp4", "mpeg2.mpg", "mpeg4.avi"]
)
def test_only_what_is_needed_is_decoded(
    videos: GoodVideos, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    send = OpenVideo.send

    def count(video: OpenVideo, packet: VideoPacket | None) -> list[VideoFrame]:
        frames = send(video, packet)
        sent.append(len(frames))
        return frames

    monkeypatch.setattr(OpenVideo, "send", count)

    sampled = read_frames(str(videos[name]), Sampling("uniform", 3), size=SIZE)

    # Targets in the middles of the thirds: the last sixth is never sent, B-frames on the way never come out.
    assert len(sent) < 0.9 * sampled.info.num_frames + 3
    if name != "mpeg4.avi":
        assert sum(sent) < 0.75 * sampled.info.num_frames


# Windows


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
    assert count_sampled(str(videos[name]), by_rate, window=window) == len(seen)


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
        count_sampled(path, parse_sampling("fps:1"), window=TimeWindow(1.0, 31.0))


def test_a_window_of_a_damaged_video(videos: GoodVideos) -> None:
    path = str(videos["zero-tail.mp4"])
    whole = read_frames(path, parse_sampling("fps:1000"), size=SIZE)
    middle = float(whole.seconds[whole.num_real // 2])
    later = read_frames(path, Sampling("uniform", 3), size=SIZE, window=TimeWindow(middle, 99.0))
    assert min(numbers(later)) > numbers(whole)[whole.num_real // 2 - 1]
    assert later.seconds.min() >= middle


# Rules that take frames more than once, or ask the container


# The last frame of truncated.ts cannot be decoded, which shows only when a sampling tries it.
@pytest.mark.parametrize(
    "name", ["short-gop.mp4", "seven-frames.mp4", "raw-stream.h264", *sorted(DAMAGED - {"truncated.ts"})]
)
def test_the_middle_candidates_are_the_frames_of_a_sampling_without(videos: GoodVideos, name: str) -> None:
    plain = read_frames(str(videos[name]), UNIFORM, size=SIZE)
    many = read_frames(str(videos[name]), Sampling("uniform", 12, candidates=5), size=SIZE)
    assert (len(many.frames), many.num_real) == (60, 5 * plain.num_real)
    np.testing.assert_array_equal(many.frames[2::5], plain.frames)
    np.testing.assert_array_equal(many.seconds[2::5], plain.seconds)
    shown = [drawn_number(frame) for frame in many.frames]
    assert shown == sorted(shown)
    assert len(set(shown)) > len(set(numbers(plain))) or name == "seven-frames.mp4"


@pytest.mark.parametrize(
    "name", [name for name in GOOD if name not in DAMAGED | {"raw-stream.h264"} and not name.endswith(".gif")]
)
def test_clip4clip_sees_the_rate_that_opencv_says(videos: GoodVideos, name: str) -> None:
    capture = cv2.VideoCapture(str(videos[name]))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    whole = read_frames(str(videos[name]), parse_sampling("fps:1000"), size=SIZE)
    sampled = read_frames(str(videos[name]), parse_sampling("clip4clip:4000"), size=SIZE)
    step = int(rate)
    assert numbers(sampled) == numbers(whole)[::step], rate
