"""Copies of an index to a file; `tests/search/test_milvus.py` copies one back from an engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.indexes import NAMES, add_film, contents, make_index
from vopcli.errors import DataError, FileError
from vopcli.index.check import verify_index
from vopcli.index.copy import copy_to_file
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress


def test_a_copy_has_the_same_rows_in_order() -> None:
    make_index(Path("i.h5"), NAMES)
    add_film(Path("i.h5"), matching=1, windows=range(3), is_whole=True)
    make_index(Path("i.h5"), NAMES[:1], seed=1)  # replaces a row
    source = VideoIndex(Path("i.h5"))
    assert copy_to_file(source, Path("j.h5"), SilentProgress()) == len(NAMES) + 4
    copy = VideoIndex(Path("j.h5"))
    assert contents(Path("j.h5")) == contents(Path("i.h5"))
    assert [replace(copy.video(row), row=0) for row in copy.rows()] == [
        replace(source.video(row), row=0) for row in source.rows()
    ]
    assert verify_index(Path("j.h5"), SilentProgress()) == []


def test_existing_files_are_kept() -> None:
    make_index(Path("i.h5"), ["a.mp4"])
    make_index(Path("j.h5"), ["b.mp4"])
    Path("k.txt").write_text("mine")
    source = VideoIndex(Path("i.h5"))
    with pytest.raises(FileError, match=r"^j\.h5 exists already$"):
        copy_to_file(source, Path("j.h5"), SilentProgress())
    with pytest.raises(DataError, match=r"^k\.txt is not an index and is not overwritten$"):
        copy_to_file(source, Path("k.txt"), SilentProgress(), overwrite=True)
    assert Path("k.txt").read_text() == "mine"
    copy_to_file(source, Path("j.h5"), SilentProgress(), overwrite=True)
    assert contents(Path("j.h5")) == contents(Path("i.h5"))
