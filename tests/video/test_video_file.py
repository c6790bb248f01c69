"""The identity of a video file, and of the records that extend it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vopcli.video.video_file import VideoFile, relocate


@dataclass(frozen=True, kw_only=True)
class Record(VideoFile):
    num_frames: int


def test_names_of_any_bytes_lead_to_the_file() -> None:
    name = os.fsdecode(b"a//b-\xff.mp4")
    assert VideoFile("/videos", name, 1, 2).file == f"/videos/{name}"


def test_a_record_of_another_file_keeps_its_content() -> None:
    record = Record("/old", "a.mp4", 1, 2, b"hash", num_frames=3)
    found = VideoFile("/new", "b.mp4", 4, 5)
    assert relocate(record, found) == Record("/new", "b.mp4", 4, 5, b"hash", num_frames=3)
