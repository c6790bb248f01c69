"""Segments whose columns do not belong together, and rows outside of the file, are damage."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.stores import (
    FRAMES,
    RAW,
    create,
    put,
    row_of,
    write,
)
from vopcli.errors import DataError
from vopcli.files.journal import write_clean_record
from vopcli.frames.rows import Row, Status
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter


def test_frames_outside_of_the_file_are_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        rows = [
            Row(
                status=Status.DONE,
                path=f"{segment} {first} {count}",
                root="/",
                size=1,
                mtime_ns=1,
                frames_segment=segment,
                first_frame=first,
                num_frames=count,
            )
            for segment, first, count in [
                (1, 0, 1),
                (-1, 0, 1),
                (0, 2, 4),
                (0, -1, 2),
                (0, 0, 0),
                (0, 2**62, 5),
            ]
        ]
        writer.lay_out([*rows, row_of(1)], [0] * len(rows) + [FRAMES])
        put(writer, len(rows), 1)
    store = FrameStore(path)
    assert [video.path for video in store.videos] == [row_of(1).path]
    assert store.num_damaged_rows == len(rows)
    with FrameStoreWriter(path) as writer:
        assert (writer.drop_damaged_rows(), writer.drop_damaged_rows()) == (len(rows), 0)
    write(path, [2])
    assert {row_of(1).path, row_of(2).path} <= {video.path for video in FrameStore.open(path).videos}


def test_columns_of_odd_shapes_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with h5py.File(path, "r+") as file:
        del file["segments/000000/seconds"]
        file["segments/000000"].create_dataset("seconds", data=np.zeros(FRAMES - 1))
    with path.open("rb+") as plain:
        write_clean_record(plain.fileno())
    for opening in (FrameStore.open, FrameStoreWriter):
        with pytest.raises(DataError, match="segment 0 has inconsistent columns"):
            opening(path)
