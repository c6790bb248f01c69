"""The cache of decoded frames."""

import os
from pathlib import Path

import anyio
import pytest

from tests.support.web import NAMES, SECONDS
from vopcli.errors import VideoError
from vopcli.index.reader import VideoIndex
from vopcli.web.frames import FrameCache, drop_oldest
from vopcli.web.gate import Gate


def test_the_frames_of_a_strip_are_decoded_once(site_index: Path, tmp_path: Path) -> None:
    video = VideoIndex(site_index).video(0)
    times = SECONDS.tolist()
    found: dict[float, bytes] = {}

    async def ask(frames: FrameCache, time: float) -> None:
        found[time] = await frames.jpeg(video, time, times)

    async def main() -> None:
        frames = FrameCache(
            tmp_path / "frames", Gate(running=1, waiting=0)
        )  # a second decoding would be refused
        async with anyio.create_task_group() as group:
            for time in times:
                group.start_soon(ask, frames, time)

    anyio.run(main)
    assert len(set(found.values())) == len(times)
    files = [file for file in (tmp_path / "frames").iterdir() if file.suffix == ".jpg"]
    assert sorted(file.read_bytes() for file in files) == sorted(found.values())

    stamps = {file: file.stat().st_mtime_ns for file in files}
    files[0].write_bytes(files[0].read_bytes()[:-9])  # as after a crash of the system
    before, found = found, {}
    anyio.run(main)
    assert found == before
    assert {file for file in files if file.stat().st_mtime_ns == stamps[file]} <= set(files[1:])


def test_the_oldest_files_are_dropped(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(100))
        os.utime(tmp_path / f"{number}.jpg", (number, number))
    drop_oldest(tmp_path, 1000)
    assert len(list(tmp_path.iterdir())) == 10
    drop_oldest(tmp_path, 900)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["3", "4", "5", "6", "7", "8", "9"]


def test_frames_come_without_a_cache_folder(site_index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    video = VideoIndex(site_index).video(0)
    assert video.path == NAMES[0]
    frames = FrameCache(tmp_path / "file", Gate(running=1, waiting=0))
    assert anyio.run(frames.jpeg, video, 0.3, []).startswith(b"\xff\xd8")


def test_a_damaged_video_is_reported(site_index: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    status = broken.stat()
    video = replace(
        VideoIndex(site_index).video(0),
        root=str(tmp_path), path="broken.mp4", size=status.st_size, mtime_ns=status.st_mtime_ns,
    )  # fmt: skip
    with pytest.raises(VideoError):
        anyio.run(FrameCache(tmp_path / "frames", Gate(running=1, waiting=0)).jpeg, video, 0.3, [])
