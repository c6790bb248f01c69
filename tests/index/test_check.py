"""The check of an index finds any damage and names the video."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.indexes import (
    NAMES,
    make_index,
)
from vopcli.files.hdf5 import SegmentFile
from vopcli.index.check import verify_index
from vopcli.index.reader import INDEX_FORMAT
from vopcli.progress import SilentProgress


@pytest.mark.slow
@pytest.mark.parametrize("column", ["video_embeddings", "frame_embeddings", "seconds", "rows", "paths"])
def test_any_flipped_bit_is_found(tmp_path: Path, column: str) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, INDEX_FORMAT).segments
    place = segment.columns[column]
    whole = path.read_bytes()
    step = 1 if column in {"rows", "paths"} else 37
    for offset in range(place.offset_bytes, place.end_bytes, step):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        assert verify_index(path, SilentProgress()), f"byte {offset - place.offset_bytes} of {column}"
    path.write_bytes(whole)
    assert verify_index(path, SilentProgress()) == []


def test_damage_is_named_by_video(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, INDEX_FORMAT).segments
    place = segment.columns["video_embeddings"]
    with path.open("r+b") as file:
        file.seek(place.offset_bytes + 1 * place.row_bytes)
        file.write(b"\xff\xff\xc0\x7f")
    (problem,) = verify_index(path, SilentProgress())
    assert NAMES[1] in problem
