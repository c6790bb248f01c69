from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.sampled import DAMAGED, LEVELS, SIZE, UNIFORM, numbers, pillow_square, xpool_indices
from tests.support.videos import (
    GOOD,
    GoodVideos,
    drawn_number,
    ffmpeg_frames,
    make_video,
)
from vopcli.errors import VideoError
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.video import read_frames


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


def test_very_large_frames(tmp_path: Path) -> None:
    codec = ("-c:v", "mjpeg", "-q:v", "8", "-vf", "scale=7680:4320:flags=neighbor")
    path = make_video(tmp_path / "8k.mov", num_frames=2, height=72, codec=codec)

    sampled = read_frames(str(path), UNIFORM, size=224)

    assert (sampled.info.width, sampled.info.height) == (7680, 4320)
    assert numbers(sampled) == [0, 1]


def test_a_file_of_broken_frames_says_so(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", codec=("-c:v", "mjpeg"), num_frames=30)
    content = bytearray(whole.read_bytes())
    while (start := content.find(b"\xff\xd8\xff")) >= 0:
        content[start : start + 600] = bytes(600)
    (tmp_path / "broken.mkv").write_bytes(content)

    with pytest.raises(VideoError, match="none of its 30 frames can be decoded") as error:
        read_frames(str(tmp_path / "broken.mkv"), UNIFORM, size=SIZE)
    assert "damaged" in error.value.hint


@pytest.mark.parametrize("num_coloured", [0, 18])
def test_flat_frames_are_content_unless_the_video_is_damaged(tmp_path: Path, num_coloured: int) -> None:
    flat = ("-vf", f"drawbox=t=fill:color=gray:enable='gte(n,{num_coloured})'")
    whole = make_video(tmp_path / "whole.mkv", *flat, codec=("-c:v", "mjpeg"), num_frames=30)
    sampled = read_frames(str(whole), UNIFORM, size=SIZE)
    num_flat = sum(len(np.unique(frame.reshape(-1, 3), axis=0)) == 1 for frame in sampled.frames)
    assert num_flat == (5 if num_coloured else 12)

    content = bytearray(whole.read_bytes())
    start = content.find(b"\xff\xd8\xff")  # of the first frame
    content[start : start + 300] = bytes(300)
    (tmp_path / "damaged.mkv").write_bytes(content)
    if num_coloured:
        assert read_frames(str(tmp_path / "damaged.mkv"), UNIFORM, size=SIZE).num_bad_packets == 1
        return
    with pytest.raises(VideoError, match="12 of its 12 sampled frames have a single colour, and 1 packets"):
        read_frames(str(tmp_path / "damaged.mkv"), UNIFORM, size=SIZE)


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
