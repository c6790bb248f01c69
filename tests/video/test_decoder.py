"""Decoding of chosen frames: as little as needed, and sound frames of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from tests.support.sampled import DAMAGED, REORDERED_WITHOUT_TIMES, SIZE, UNIFORM, numbers
from tests.support.videos import (
    GOOD,
    GoodVideos,
    flip_bits,
    make_video,
)
from vopcli.errors import VideoError
from vopcli.video import video as video_module
from vopcli.video.decoder import OpenVideo
from vopcli.video.packets import VideoPacket
from vopcli.video.sampling import Sampling
from vopcli.video.video import read_frames


@pytest.mark.parametrize("name", [name for name in GOOD if name not in REORDERED_WITHOUT_TIMES | DAMAGED])
def test_sound_videos_are_decoded_once(
    videos: GoodVideos, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode_again(_: OpenVideo) -> None:
        raise AssertionError("the fast way missed a frame")

    monkeypatch.setattr(video_module, "decode_all", decode_again)

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
