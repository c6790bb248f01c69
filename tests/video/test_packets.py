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
from vopcli.video.packets import OptionalInts, increases
from vopcli.video.pool import DecodeJob, decode_videos, scan_videos
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.video import FrameSpec, read_frames
from vopcli.video.windows import WHOLE_ONLY


def test_times_are_integers_or_none() -> None:
    times = OptionalInts([0, None, -(2**40)])
    times.append(7)

    assert list(times) == [0, None, -(2**40), 7]
    assert (len(times), times[1], times[-1]) == (4, None, 7)


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], True), ([5], True), ([1, 2, 4], True), ([1, 1], False), ([2, 1], False), ([1, None, 2], False)],
)
def test_times_that_increase(times: list[int | None], *, expected: bool) -> None:
    assert increases(times) is expected


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_says_why(tmp_path: Path, name: str) -> None:
    make, expected = BAD[name]
    make(tmp_path / name)

    with pytest.raises(VideoError, match=expected) as error:
        read_frames(str(tmp_path / name), UNIFORM, size=SIZE)

    assert str(tmp_path / name) in str(error.value)
    assert error.value.hint


def test_odd_names_are_only_names(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("workers", [0, 1])
def test_frames_beyond_the_limit_of_pixels_are_refused_before_decoding(tmp_path: Path, workers: int) -> None:
    path = make_video(tmp_path / "a.mov", num_frames=4, codec=("-c:v", "qtrle", "-pix_fmt", "argb"))
    job, sampling = DecodeJob(0, str(path)), Sampling("uniform", 2)
    for most, is_refused in ((128 * 96 - 1, True), (128 * 96, False)):
        for results in (
            decode_videos([job], FrameSpec(sampling, 32, max_pixels=most), workers=workers),
            scan_videos([job], parse_sampling("fps:5"), WHOLE_ONLY, workers=workers, max_pixels=most),
        ):
            [(_, result)] = results
            assert isinstance(result, VideoError) is is_refused
            if isinstance(result, VideoError):
                assert (
                    str(result) == f"{path}: its frames of 128 x 96 pixels exceed the limit of {most} pixels"
                )
                assert result.hint == "if there is enough memory, use --max-pixels 12288"


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
def test_frames_that_grow_beyond_the_limit_are_refused(tmp_path: Path, suffix: str) -> None:
    small = make_video(tmp_path / f"small{suffix}", num_frames=12)
    large = make_video(tmp_path / f"large{suffix}", num_frames=12, width=512, height=384)
    path = tmp_path / f"both{suffix}"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(VideoError, match="its frames of 512 x 384 pixels exceed the limit of 20000"):
        read_frames(str(path), Sampling("uniform", 12), size=32, max_pixels=20_000)
    assert len(read_frames(str(path), Sampling("uniform", 12), size=32).frames) == 12


def test_a_raw_stream_that_many_bytes_look_like_needs_its_suffix(tmp_path: Path) -> None:
    raw = make_video(tmp_path / "film.h263", codec=("-c:v", "h263"), num_frames=20)
    assert read_frames(str(raw), UNIFORM, size=SIZE).num_real == 12
    renamed = raw.rename(tmp_path / "film.avi")
    with pytest.raises(VideoError, match=r"not a video .* \(its bytes could be a raw h263 stream\)") as error:
        read_frames(str(renamed), UNIFORM, size=SIZE)
    assert ".h263" in error.value.hint
