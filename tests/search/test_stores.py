"""Names of indexes that a search engine keeps."""

from pathlib import Path

import pytest

from tests.support.indexes import make_index
from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.search.stores import STORES, check_is_file, is_in_engine, open_videos, store_of


@pytest.mark.parametrize("name", ["i.h5", "milvus", "./milvus:i.db", "a:b.h5", "/milvus:/i.db"])
def test_other_names_are_files(name: str) -> None:
    assert (is_in_engine(Path("milvus:i.db")), is_in_engine(Path(name))) == (True, name == "./milvus:i.db")
    check_is_file(Path("i.h5"), "vop serve")


def test_a_file_is_opened_as_a_file() -> None:
    make_index(Path("i.h5"), ["a.mp4"])
    assert store_of(Path("i.h5")) is None
    assert type(open_videos(Path("i.h5"))) is VideoIndex


def test_commands_of_files_refuse_an_engine() -> None:
    with pytest.raises(UsageError, match=r"^vop serve needs an HDF5 index, not milvus:i\.db$") as error:
        check_is_file(Path("milvus:i.db"), "vop serve")
    assert error.value.hint == "copy it first: vop index copy milvus:i.db INDEX.h5"


def test_a_name_with_braces_is_printed_as_it_is() -> None:
    for then in ("", "and copy it to {name}"):
        with pytest.raises(UsageError) as error:
            check_is_file(Path("milvus:{i}.db"), "vop serve", then)
        assert "milvus:{i}.db" in error.value.hint


def test_each_record_names_a_class() -> None:
    assert all(record.count(":") == 1 for record in STORES.values())
