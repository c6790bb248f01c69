"""The rows of a frame store: the last record of a video wins, and damage is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.stores import (
    FRAMES,
    RAW,
    create,
    frames_of,
    put,
    row_of,
    seconds_of,
    write,
)
from vopcli.errors import DataError
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.rows import FRAME_FORMAT, Status, cut_text
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter
from vopcli.video.video_file import VideoFile, relocate


def test_failures_and_names_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        writer.lay_out([row_of(1), row_of(2), row_of(3)], [FRAMES, FRAMES, 0])
        put(writer, 0, 1)
        failed = replace(row_of(2), status=Status.FAILED, error="is a poem: ü" + "ä" * 200)
        writer.put_row(1, failed)
    store = FrameStore.open(path)
    assert [video.path for video in store.videos] == [row_of(1).path]
    assert store.failures == [(row_of(2).path, "is a poem: ü" + "ä" * 93)]
    assert store.num_unfinished == 1
    with FrameStoreWriter(path) as writer:
        done = writer.known.videos[row_of(1).path]
        moved = relocate(done, VideoFile("/elsewhere", "new.mp4", 7, 8))
        gone = replace(row_of(1), status=Status.GONE)
        writer.lay_out([moved, gone], [0, 0])
    store = FrameStore.open(path)
    assert [(video.path, video.root) for video in store.videos] == [("new.mp4", "/elsewhere")]
    np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))


def test_cut_text() -> None:
    assert cut_text("short") == b"short"
    assert cut_text("x" + "ü" * 200) == ("x" + "ü" * 99).encode()
    assert cut_text("a\0b\udcff") == rb"a\0b\udcff"


def test_the_last_thing_said_of_a_video_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with FrameStoreWriter(path) as writer:
        changed = row_of(7, name=row_of(1).path)
        writer.lay_out([changed], [FRAMES])
        writer.put_frames(0, changed, frames_of(7), seconds_of(7))
    (video,) = FrameStore.open(path).videos
    np.testing.assert_array_equal(FrameStore.open(path).read(video), frames_of(7))
    write(path, [1], finish=0)  # planned only: what was there before still holds
    (video,) = FrameStore.open(path).videos
    assert video.size == 1007


@pytest.mark.slow
def test_a_flipped_bit_in_a_row_is_never_believed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2])
    whole = path.read_bytes()
    segment = SegmentFile.read(path, FRAME_FORMAT).segments[0]
    good = FrameStore.open(path).videos
    for name in ("rows", "status", "paths"):
        column = segment.columns[name]
        for place in range(column.offset_bytes, column.end_bytes, 3 if name == "rows" else 1):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 8
            path.write_bytes(flipped)
            with pytest.raises(DataError, match=r"store\.h5 is damaged: \d of its rows do not match"):
                FrameStore.open(path)
            store = FrameStore(path)
            assert store.num_damaged_rows >= 1
            assert set(map(repr, store.videos)) < set(map(repr, good))
            assert "damaged" in store.verify()[0]
