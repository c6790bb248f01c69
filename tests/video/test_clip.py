"""Clips hold exactly the frames and the sound that FFmpeg finds in the range of the source."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.videos import (
    BAD,
    GOOD,
    drawn_number,
    ffmpeg_frames,
    ffmpeg_seconds,
    flip_bits,
    make_video,
    run_ffmpeg,
)
from vopcli.errors import FileError, VideoError
from vopcli.video.clip import clip_suffix, cut_clip

START, END = 0.41, 1.5
SOUND_RATE = 44100
CODED = [
    "long-gop.mp4", "open-gop.mp4", "open-gop.ts", "matroska.mkv", "raw-stream.h264", "mpeg4-b.avi",
    "vp9.webm", "wmv.wmv", "edit-list.mp4", "lost-beginning.ts", "variable-rate.mkv", "rotated-90.mp4",
    "rotated-270.mp4", "mirrored.mp4", "odd-size.mp4", "ten-bit.mp4", "no-keyframe-table.mp4",
    "truncated.mp4",
]  # fmt: skip
COPIED = [
    "long-gop.mp4", "short-gop.mp4", "open-gop.mp4", "open-gop.ts", "matroska.mkv", "vp9.webm", "wmv.wmv",
    "flash.flv", "mjpeg.avi", "variable-rate.mkv", "rotated-90.mp4", "mirrored.mp4", "odd-size.mp4",
    "lost-beginning.ts",
]  # fmt: skip


def numbers(path: Path) -> list[int]:
    return [drawn_number(frame) for frame in ffmpeg_frames(path)]


def frame_times(path: Path) -> list[float]:
    """Presentation times in full resolution: FFmpeg's own output rounds them to the frame rate."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return sorted(float(packet.pts * packet.time_base) for packet in packets)


def seconds_of(path: Path, kind: str) -> float:
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return float(stream.duration * stream.time_base)


def chirp(path: Path, *options: str, seconds: float = 4.0, delay: float = 0.0) -> Path:
    """A numbered video with a tone that rises, so that each moment sounds different."""
    silent = make_video(path.with_name("silent.mp4"), "-g", "30", num_frames=round(seconds * 25))
    tone = f"aevalsrc='0.5*sin(2*PI*(300*t+400*t*t))':s={SOUND_RATE}:d={seconds}"
    sound = ("-itsoffset", str(delay), "-f", "lavfi", "-i", tone)
    run_ffmpeg(
        "-i", silent, *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", *options, path
    )
    return path


def sound_of(path: Path) -> NDArray[np.float32]:
    """All samples of the first channel, the first video frame being at 0."""
    filters = ("-af", f"aresample={SOUND_RATE}:async=1:first_pts=0", "-ac", "1", "-f", "f32le")
    samples = np.frombuffer(run_ffmpeg("-i", path, "-map", "0:a", *filters, "-"), np.float32)
    with av.open(str(path)) as container:  # FFmpeg moves the first stream to 0, which may be the sound
        video = container.streams.video[0]
        lead = float(video.start_time * video.time_base) - container.start_time / av.time_base
    return samples[round(lead * SOUND_RATE) :]


@pytest.mark.parametrize("name", CODED)
def test_a_clip_shows_at_each_moment_what_the_video_shows(name: str, tmp_path: Path) -> None:
    source, target = GOOD[name](tmp_path / name), tmp_path / "clip.mp4"
    times = [*ffmpeg_seconds(source), 99.0]
    shown = [
        (number, max(start - START, 0.0))
        for number, start, end in zip(numbers(source), times, times[1:], strict=False)
        if end > START + 1e-6 and start < END
    ]
    start, end = cut_clip(str(source), target, START, END)
    assert start == START
    assert numbers(target) == [number for number, _ in shown]
    assert frame_times(target) == pytest.approx([time for _, time in shown], abs=1e-3)
    assert seconds_of(target, "video") == pytest.approx(end - start, abs=2e-3)


@pytest.mark.parametrize("name", COPIED)
def test_a_copy_begins_at_the_key_frame_and_says_so(name: str, tmp_path: Path) -> None:
    source = GOOD[name](tmp_path / name)
    target = tmp_path / f"clip{clip_suffix(source, copy=True)}"
    start, end = cut_clip(str(source), target, START, END, copy=True)
    inside = [
        number
        for number, time in zip(numbers(source), ffmpeg_seconds(source), strict=True)
        if start - 1e-6 <= time < end - 1e-6
    ]
    assert numbers(target) == inside
    assert start <= START
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert old.streams.video[0].codec_context.name == new.streams.video[0].codec_context.name


def test_a_copy_of_a_later_part_has_no_frames_before_its_key_frame(tmp_path: Path) -> None:
    source = GOOD["short-gop.mp4"](tmp_path / "video.mp4")
    start, end = cut_clip(str(source), tmp_path / "clip.mp4", 2.0, 2.1, copy=True)
    assert (start, numbers(tmp_path / "clip.mp4")[0]) == (1.92, 48)
    assert end < 2.4


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60000/1001"])
def test_the_rates_of_television_stay_exact(rate: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / "video.mp4", num_frames=90, fps=rate)
    cut_clip(str(source), tmp_path / "clip.mp4", 0.5, 1.4)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        durations = {packet.duration for packet in container.demux(video=0) if packet.size}
        ticks = container.streams.video[0].time_base.denominator
    top, bottom = map(int, rate.split("/"))
    assert ticks * bottom // top in durations
    assert len(durations) <= 3  # the first and the last frame are cut


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mkv", "sound.ts"])
@pytest.mark.parametrize("copy", [False, True])
def test_the_sound_stays_with_the_pictures(name: str, copy: bool, tmp_path: Path) -> None:
    source = chirp(tmp_path / name)
    target = tmp_path / f"clip{clip_suffix(source, copy=copy)}"
    start, end = cut_clip(str(source), target, 1.31, 2.77, copy=copy)
    whole, part = sound_of(source), sound_of(target)
    assert len(part) / SOUND_RATE == pytest.approx(end - start, abs=0.03)
    inner = part[5000 : 5000 + SOUND_RATE]
    expected = round(start * SOUND_RATE) + 5000
    products = [float(inner @ whole[at : at + SOUND_RATE]) for at in range(expected - 600, expected + 600)]
    # An edit list, and the times of Matroska, are in milliseconds.
    assert abs(int(np.argmax(products)) - 600) <= (1 if name == "sound.mp4" and not copy else 50)


def test_sound_that_begins_later_begins_later_in_the_clip(tmp_path: Path) -> None:
    source = chirp(tmp_path / "late.mp4", delay=1.0)
    cut_clip(str(source), tmp_path / "clip.mp4", 0.5, 2.0)
    samples = np.abs(sound_of(tmp_path / "clip.mp4"))
    assert samples[: int(0.45 * SOUND_RATE)].max() < 0.01
    assert samples[int(0.55 * SOUND_RATE) :].max() > 0.2


def test_six_channels_and_odd_rates_are_kept_as_far_as_aac_can(tmp_path: Path) -> None:
    for channels, rate, expected in ((6, 48000, (6, 48000)), (1, 11111, (1, 48000)), (4, 32000, (2, 32000))):
        source = tmp_path / f"{channels}.mkv"
        chirp(source, "-c:a", "pcm_s16le", "-ac", str(channels), "-ar", str(rate), seconds=1)
        cut_clip(str(source), tmp_path / f"{channels}.mp4", 0.2, 0.8)
        with av.open(str(tmp_path / f"{channels}.mp4")) as container:
            sound = container.streams.audio[0]
            assert (sound.channels, sound.rate) == expected
        assert seconds_of(tmp_path / f"{channels}.mp4", "audio") == pytest.approx(0.6, abs=0.03)


def test_damage_that_shows_only_in_decoding(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", "-g", "15", num_frames=90)
    source = flip_bits(tmp_path / "bad.ts", whole, start=0.3, end=0.5, every=2000)
    cut_clip(str(source), tmp_path / "clip.mp4", 2.5, 3.2)
    assert numbers(tmp_path / "clip.mp4")[-5:] == numbers(whole)[75:80]


def test_an_existing_file_stays_unless_asked(tmp_path: Path) -> None:
    source, target = make_video(tmp_path / "video.mp4"), tmp_path / "clip.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(FileError, match=r"clip\.mp4 exists already"):
        cut_clip(str(source), target, 0, 1)
    assert target.read_bytes() == b"mine"
    cut_clip(str(source), target, 0, 1, overwrite=True)
    assert len(numbers(target)) == 25


@pytest.mark.parametrize("copy", [False, True])
def test_a_range_without_frames_leaves_no_file(copy: bool, tmp_path: Path) -> None:
    source = make_video(tmp_path / "video.mp4")
    with pytest.raises(VideoError, match=r"no frames from 5 to 6 s, it ends at 2\.4 s"):
        cut_clip(str(source), tmp_path / "clip.mp4", 5, 6, copy=copy)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("name", ["text.mp4", "missing.mp4", "audio-only.m4a", "no-frames.mp4"])
def test_what_is_no_video_is_named(name: str, tmp_path: Path) -> None:
    make, said = BAD[name]
    make(tmp_path / name)
    with pytest.raises(VideoError, match=said) as caught:
        cut_clip(str(tmp_path / name), tmp_path / "clip.mp4", 0, 1)
    assert name in str(caught.value)
    assert not (tmp_path / "clip.mp4").exists()


def test_a_copy_that_the_container_refuses_says_what_to_do(tmp_path: Path) -> None:
    source = GOOD["raw-stream.h264"](tmp_path / "raw.h264")
    with pytest.raises(VideoError, match="no times to cut at") as caught:
        cut_clip(str(source), tmp_path / "clip.mkv", 0, 1, copy=True)
    assert caught.value.hint == "cut it without --copy"
