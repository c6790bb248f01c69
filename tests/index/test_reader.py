"""The index as a reader sees it: what is written comes back, and other files are refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.indexes import (
    META,
    NAMES,
    contents,
    encoded_video,
    expected,
    make_index,
    new_videos,
    rewrite_index,
)
from vopcli.errors import DataError
from vopcli.files.hdf5 import SegmentFile
from vopcli.index.check import describe_index, verify_index
from vopcli.index.reader import INDEX_FORMAT, VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.progress import SilentProgress
from vopcli.video.video_file import KnownVideos, VideoFile


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    encoded = make_index(path, NAMES)
    assert contents(path) == expected(NAMES, encoded)
    index = VideoIndex(path)
    assert index.meta == META
    video = next(video for video in index.videos() if video.path == NAMES[1])
    assert (video.root, video.size, video.mtime_ns, video.sha256) == (
        "/videos",
        101,
        10**18 + 1,
        bytes([2] * 32),
    )
    assert video.file == "/videos/deep/er/ü b.mkv"
    assert (video.num_frames, video.num_real, video.duration_seconds) == (3, 3, 3.25)


def test_videos_not_finished_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(NAMES))
        writer.add([encoded_video(1)])
        writer.add(
            [replace(encoded_video(3), frames=encoded_video(3).frames[:2], seconds=np.zeros(2), num_real=1)]
        )
    assert sorted(contents(path)) == sorted([NAMES[1], NAMES[3]])
    assert describe_index(path)["unfinished"] == 3
    assert describe_index(path)["frames"] == 4
    assert verify_index(path, SilentProgress()) == []


def test_empty_index(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    assert len(VideoIndex(path)) == 0
    assert list(VideoIndex(path).videos()) == []
    assert verify_index(path, SilentProgress()) == []
    assert describe_index(path)["videos"] == 0
    rewrite_index(path, [])
    assert len(VideoIndex(path)) == 0


def test_files_that_are_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        VideoIndex(tmp_path / "none.h5")
    with pytest.raises(DataError, match="folder"):
        VideoIndex(tmp_path)
    (tmp_path / "text.h5").write_text("hello\n" * 1000)
    with pytest.raises(DataError, match="not an HDF5 file"):
        VideoIndex(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="another program"):
        VideoIndex(tmp_path / "other.h5")


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"truncated|damaged"):
            VideoIndex(path)


@pytest.mark.parametrize("column", ["rows", "paths", "video_embeddings", "frame_embeddings", "seconds"])
def test_a_flipped_bit_is_an_error_where_it_is_read(tmp_path: Path, column: str) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, INDEX_FORMAT).segments
    place, whole = segment.columns[column], path.read_bytes()
    for offset in range(place.offset_bytes, place.end_bytes, 11):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            read_all(path)
    path.write_bytes(whole)
    read_all(path)


def read_all(path: Path) -> None:
    index = VideoIndex(path)
    for video in index.videos():
        index.frames_of(video.row)
        index.embedding_of(video.row)


def test_each_state_of_a_file_is_verified_once(tmp_path: Path) -> None:
    path, cache = tmp_path / "i.h5", tmp_path / "cache"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, INDEX_FORMAT).segments
    for part, column in [("embeddings", "video_embeddings"), ("frames", "frame_embeddings")]:
        VideoIndex(path).verify_once(part, cache)
        before, offset = path.stat(), segment.columns[column].offset_bytes
        flip(path, offset)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        VideoIndex(path).verify_once(part, cache)  # not read: size and time are those of the sound file
        os.utime(path)
        with pytest.raises(DataError, match="checksum"):
            VideoIndex(path).verify_once(part, cache)
        flip(path, offset)
        VideoIndex(path).verify_once(part, cache)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (value,) = file.read(1)
        file.seek(offset)
        file.write(bytes([value ^ 1]))


def test_videos_are_found_by_path_and_by_size(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    names = [*NAMES, "b", "", *(f"folder/of videos/number {i:05d}.mp4" for i in range(50))]
    make_index(path, names[:30])
    make_index(path, names[20:])
    index = VideoIndex(path)
    every = {video.path: video for video in index.videos()}
    for name in [*names, "c", "none/of videos/number 00001.mp4"]:
        found = index.find([VideoFile("/elsewhere", name, -1, 0)]).videos
        assert {video for video in found.values() if video.path == name} == (
            {every[name]} if name in every else set()
        )
    sizes = {101, 7, 106}
    found = index.find([VideoFile("/videos", "none", size, 0) for size in sizes]).videos
    by_size = {name: video for name, video in every.items() if video.size in sizes}
    assert {name: video for name, video in found.items() if video.size in sizes} == by_size
    assert len(by_size) > 2
    assert index.find([]) == KnownVideos()
