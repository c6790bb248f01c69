"""An index in a Milvus server that is killed while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.indexes import QUERY, add_film, contents, make_index, unit_rows
from tests.support.milvus_server import MilvusServer, milvus_server
from vopcli.errors import DataError
from vopcli.index.copy import copy_to_file
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.milvus_client import Milvus
from vopcli.search.search import Index
from vopcli.search.stores import Copied, CopyRules, store_of

pytest.importorskip("milvus")
NAMES = [f"{number:04d}.mp4" for number in range(1500)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    with milvus_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def copy(source: Path, name: str, progress: SilentProgress) -> Copied:
    store = store_of(Path(name))
    assert store is not None
    return store.write(VideoIndex(source), CopyRules(), progress)


@pytest.mark.slow
def test_a_server_killed_in_a_copy_loses_nothing(server: MilvusServer) -> None:
    make_index(Path("i.h5"), NAMES)
    add_film(Path("i.h5"), matching=2, windows=range(4), is_whole=True)
    name, num_rows = server.name("killed"), len(NAMES) + 5

    class Kill(SilentProgress):
        rows = 0

        def advance(self, amount: int = 1) -> None:
            self.rows += amount
            if server.pid and self.rows > num_rows // 2:
                server.kill()

    with pytest.raises(DataError, match=rf"^{name}: Milvus reports: ") as error:
        copy(Path("i.h5"), name, Kill())
    assert error.value.exit_code == 3
    server.start_again()
    copied = copy(Path("i.h5"), name, SilentProgress())  # waits until the server has loaded the collection
    assert copied.num_added + copied.num_unchanged == num_rows
    assert copied.num_unchanged > 0  # it went on
    assert copy(Path("i.h5"), name, SilentProgress()) == Copied(0, 0, num_rows)
    connection = Milvus(Path(name))
    assert connection.count() == num_rows
    frames = connection.call("query", connection.frames, filter="", output_fields=["count(*)"])
    assert frames[0]["count(*)"] == num_rows  # a piece each: nothing twice
    file, index = Index(Path("i.h5")), Index(Path(name))
    for query in (QUERY, *unit_rows(2, seed=5)):
        found = [[replace(hit, row=0) for hit in one.search(query, moments=True)] for one in (file, index)]
        assert found[0] == found[1]
    copy_to_file(index.videos, Path("back.h5"), SilentProgress())
    assert contents(Path("back.h5")) == contents(Path("i.h5"))
