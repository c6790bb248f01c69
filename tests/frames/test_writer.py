"""Writing a frame store: free room is used first, and a kill loses at most the video in flight."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.stores import (
    FRAMES,
    JPEG,
    RAW,
    SIZE,
    check,
    create,
    frames_of,
    jpegs_of,
    put,
    row_of,
    slots,
    write,
)
from tests.support.system_calls import Killer, replaced, without_sync
from vopcli.errors import BusyError, FileError
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Status
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter
from vopcli.video.sampling import parse_sampling


def test_room_that_an_unfinished_run_took_is_used_first(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, list(range(10)), finish=3)
    assert slots(path) == [10 * FRAMES]
    size = path.stat().st_size
    write(path, list(range(3, 10)))
    assert slots(path) == [10 * FRAMES, 0]
    assert path.stat().st_size < size + 20_000
    check(path, list(range(10)))
    write(path, [10, 11])
    assert slots(path) == [10 * FRAMES, 0, 2 * FRAMES]
    check(path, list(range(12)))


def test_room_of_failed_videos_is_used_too_but_never_that_of_stored_ones(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        writer.lay_out([row_of(number) for number in range(4)], [FRAMES] * 4)
        put(writer, 3, 3)
        for number in (0, 1):
            writer.put_row(number, replace(row_of(number), status=Status.FAILED, error="no"))
    write(path, [5, 6, 7, 8])
    assert slots(path) == [4 * FRAMES, FRAMES]
    check(path, [3, 5, 6, 7, 8])


def test_odd_lengths_that_do_not_fit_the_rest_of_a_segment_get_another(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, Recipe(parse_sampling("fps:1"), SIZE)) as writer:
        writer.lay_out([row_of(1), row_of(2), row_of(3)], [4, 3, 3])
        assert writer.num_free == [10]
        put(writer, 1, 2, 3)
        put(writer, 0, 1, 8)  # longer than was planned
        put(writer, 2, 3, 3)
    store = FrameStore.open(path)
    assert store.verify() == []
    assert [video.num_frames for video in store.videos] == [8, 3, 3]


def test_jpeg_files_that_need_more_room_than_was_guessed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, list(range(12)), JPEG)  # noise takes five times as much as pictures do
    contents = SegmentFile.read(path, FRAME_FORMAT)
    assert 2 <= len(contents.segments) <= 4
    used = sum(jpeg.size for number in range(12) for jpeg in jpegs_of(number))
    assert used <= sum(segment.columns["frame_bytes"].shape[0] for segment in contents.segments) < 1.6 * used
    check(path, list(range(12)))


@pytest.mark.slow
@replaced(without_sync, ["fdatasync"])
def test_a_kill_at_any_write_loses_at_most_the_video_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    base = path.read_bytes()
    counts = set()
    for at in range(200):
        path.write_bytes(base)
        child = os.fork()
        if child == 0:
            with replaced(Killer(at)):
                write(path, [2, 3])
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        found = [video.size - 1000 for video in FrameStore.open(path).videos]
        counts.add(len(found))
        assert found == [1, 2, 3][: len(found)]
        check(path, found)
        if left := [number for number in [2, 3] if number not in found]:
            write(path, left)
        check(path, [1, 2, 3])
        assert sum(slots(path)) == 3 * FRAMES
    assert at > 25
    assert counts == {1, 2, 3}


def test_frames_are_on_the_disk_before_the_row_says_so(tmp_path: Path) -> None:
    """Ordering that a power cut would show, and no kill can."""
    path = tmp_path / "store.h5"
    offsets: list[int | None] = []  # of each write; None: a sync

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            offsets.append(arguments[2] if name == "pwrite" else None)
            return call(*arguments)

        return wrapped

    with replaced(noted, ["pwrite", "fdatasync"]), create(path, RAW) as writer:
        writer.lay_out([row_of(1)], [FRAMES])
        offsets.clear()
        put(writer, 0, 1)
    columns = SegmentFile.read(path, FRAME_FORMAT).segments[0].columns

    def column_at(offset: int) -> str:
        found = (name for name, one in columns.items() if one.offset_bytes <= offset < one.end_bytes)
        return next(found, "journal")

    calls = ["sync" if offset is None else column_at(offset) for offset in offsets]
    written = ["frames", "seconds", "checksums", "sync", "rows", "sync"]
    marked = ["journal", "sync", "status", "journal", "sync"]
    assert calls == [*written, *marked, "journal", "sync"]


def test_a_store_in_use_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with FrameStoreWriter(path), pytest.raises(BusyError, match=r"store\.h5 is in use by another process"):
        FrameStoreWriter(path)
    with pytest.raises(FileError, match="exists already"):
        create(path, RAW)


def test_a_reader_that_opened_before_reads_on_while_a_writer_adds(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2], finish=1)
    store = FrameStore.open(path)
    with FrameStoreWriter(path) as writer:
        writer.lay_out([row_of(2), row_of(3)], [FRAMES, FRAMES])
        put(writer, 0, 2)
        np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))
        put(writer, 1, 3)
        np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))
    check(path, [1, 2, 3])
