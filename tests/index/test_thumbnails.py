"""Thumbnails in an index: found again after every change of the file, and never taken for another's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, encoded_video, make_index, new_videos, rewrite_index
from vopcli.errors import DataError
from vopcli.index.check import verify_index
from vopcli.index.reader import VideoIndex
from vopcli.index.thumbnails import (
    MAX_JPEG_BYTES,
    SLOT_BYTES,
    has_thumbnails,
    pack_thumbnail,
    read_thumbnail,
    slots_of,
    unpack_thumbnail,
)
from vopcli.index.writer import IndexWriter, create_index
from vopcli.progress import SilentProgress


def jpeg_of(path: str, number: int) -> bytes:
    return f"{path} {number}".encode() * 9


def add(index: Path, names: list[str], *, seed: int = 0) -> None:
    """Add videos with thumbnails; the second of each has none."""
    with IndexWriter(index) as writer:
        writer.lay_out(new_videos(names), thumbnails=True)
        for slot, name in enumerate(names):
            slots = np.stack([pack_thumbnail(jpeg_of(name, number)) for number in range(3)])
            slots[1] = 0
            video = encoded_video(slot, seed=seed)
            writer.add([dataclasses.replace(video, thumbnails=slots)])


def stored(index: Path) -> dict[str, list[bytes | None]]:
    videos = VideoIndex(index)
    return {
        video.path: [read_thumbnail(videos, video.row, number) for number in range(3)]
        for video in videos.videos()
    }


def expected(*names: str) -> dict[str, list[bytes | None]]:
    return {name: [jpeg_of(name, 0), None, jpeg_of(name, 2)] for name in names}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    create_index(tmp_path / "i.h5", META)
    return tmp_path / "i.h5"


@pytest.mark.parametrize("jpeg", [b"x", b"\0", b"y" * MAX_JPEG_BYTES])
def test_a_slot_holds_a_file(jpeg: bytes) -> None:
    slot = pack_thumbnail(jpeg)
    assert slot.shape == (SLOT_BYTES,)
    assert unpack_thumbnail(slot) == jpeg
    assert unpack_thumbnail(np.zeros(SLOT_BYTES, np.uint8)) is None


def test_every_flipped_bit_is_found() -> None:
    slot = pack_thumbnail(b"jpeg" * 99)
    for place in range(0, 8 * SLOT_BYTES, 37):
        damaged = slot.copy()
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="checksum"):
            unpack_thumbnail(damaged)


@pytest.mark.parametrize("jpeg", [b"", b"y" * (MAX_JPEG_BYTES + 1)])
def test_a_file_that_does_not_fit_is_refused(jpeg: bytes) -> None:
    with pytest.raises(ValueError, match="a thumbnail has 1 to"):
        pack_thumbnail(jpeg)


def test_thumbnails_are_found_by_row_and_frame(index: Path) -> None:
    add(index, ["a", "b"])
    add(index, ["c"], seed=1)
    assert stored(index) == expected("a", "b", "c")
    assert verify_index(index, SilentProgress()) == []


def test_segments_with_and_without_thumbnails_stand_side_by_side(index: Path) -> None:
    make_index(index, ["old"])
    add(index, ["new"], seed=1)
    none: list[bytes | None] = [None, None, None]
    assert stored(index) == {"old": none, **expected("new")}
    videos = VideoIndex(index)
    assert [has_thumbnails(videos, row) for row in videos.rows()] == [False, True]
    rewrite_index(index, [1, 0])
    assert stored(index) == {"old": none, **expected("new")}
    rewrite_index(index, [1])
    assert slots_of(VideoIndex(index), 0) is not None


def test_removed_and_rewritten_rows_keep_the_thumbnails_of_the_others(index: Path) -> None:
    add(index, ["a", "b", "c", "d"])
    with IndexWriter(index) as writer:
        writer.remove([1])
    assert stored(index) == expected("a", "c", "d")
    rewrite_index(index, [3, 0])
    assert stored(index) == expected("a", "d")


def test_damage_is_reported_with_the_name_of_the_video(index: Path) -> None:
    add(index, ["a", "b"])
    place = VideoIndex(index).segments[0].columns["thumbnails"].offset_bytes + 3 * SLOT_BYTES + 50
    with index.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff")
    with pytest.raises(DataError, match="a thumbnail of b does not match"):
        read_thumbnail(VideoIndex(index), 1, 0)
    assert ["a thumbnail of b" in problem for problem in verify_index(index, SilentProgress())] == [True]
