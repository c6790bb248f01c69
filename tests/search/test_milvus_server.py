"""An index in a Milvus server; the server, or the command that writes, is killed meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.encoding import contents, requests_of_films, rows_of, run
from tests.support.indexes import QUERY, add_film, make_index, unit_rows
from tests.support.milvus_server import MilvusServer, milvus_server
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.milvus_client import Milvus
from vopcli.search.search import Index
from vopcli.search.stores import Copied, CopyRules, store_of

pytest.importorskip("milvus")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    with milvus_server(tmp_path_factory.mktemp("server")) as running:
        yield running


class Killing(SilentProgress):
    """Ends a process after so many steps; to compare a video and to count its frames are a step each."""

    def __init__(self, after: int, kill: Callable[[], None]) -> None:
        self.after, self.kill = after, kill

    def advance(self, amount: int = 1) -> None:
        is_before = self.after > 0
        self.after -= amount
        if is_before and self.after <= 0:
            self.kill()


def encode_and_die(request: EncodeRequest) -> None:
    encode(request, Killing(4 + 4 + 3, lambda: os.kill(os.getpid(), signal.SIGKILL)))


def copy(name: str, progress: SilentProgress) -> Copied:
    store = store_of(Path(name))
    assert store is not None
    return store.write(VideoIndex(Path("random.h5")), CopyRules(), progress)


def counts(name: str) -> list[int]:
    """Numbers of rows, and of pieces of their frames."""
    found = []
    for place in range(2):
        connection = Milvus(Path(name))  # the first read of a connection waits for all that was written
        connection.load()
        collection = (connection.collection, connection.frames)[place]
        [row] = connection.call("query", collection, filter="", output_fields=["count(*)"])
        found.append(row["count(*)"])
    return found


@pytest.mark.slow
def test_a_killed_command_and_a_killed_server_lose_nothing(server: MilvusServer, weights: Path) -> None:
    file, engine = requests_of_films(weights, Path(server.name("films")))
    whole = run(file)
    child = multiprocessing.get_context("spawn").Process(target=encode_and_die, args=(engine,), daemon=True)
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    num_written = counts(server.name("films"))[0]
    assert 0 < num_written < 8

    make_index(Path("random.h5"), [f"{number:04d}.mp4" for number in range(600)])
    add_film(Path("random.h5"), matching=2, windows=range(4), is_whole=True)

    def kill_the_server_in_a_copy() -> None:
        nonlocal begin
        with pytest.raises(DataError, match="random: Milvus reports: "):
            copy(server.name("random"), Killing(400, server.kill))
        begin = time.monotonic()

    begin = 0.0
    with pytest.raises(DataError, match=rf"^{server.name('films')}: Milvus reports: ") as error:
        encode(engine, Killing(4 + 4 + 1, kill_the_server_in_a_copy))
    assert (error.value.exit_code, time.monotonic() - begin < 30) == (3, True)
    server.start_again()

    assert num_written < counts(server.name("films"))[0] < 8
    assert 0 < run(engine).num_frames < whole.num_frames
    assert run(engine).num_unchanged == 3
    assert counts(server.name("films")) == [8, 8 + 1]  # a piece for each row, and a note of bad.mp4
    assert rows_of(engine.index) == contents(file.index)
    assert 0 < copy(server.name("random"), SilentProgress()).num_unchanged < 605
    assert copy(server.name("random"), SilentProgress()) == Copied(0, 0, 605)
    itself = store_of(Path(server.name("random")))
    assert itself
    assert itself.write(itself.open(), CopyRules(), SilentProgress()) == Copied(0, 0, 605)
    assert counts(server.name("random")) == [605, 605]
    for query in (QUERY, *unit_rows(2, seed=5)):
        found = [
            Index(name).search(query, moments=True)
            for name in (Path("random.h5"), Path(server.name("random")))
        ]
        assert [replace(hit, row=0) for hit in found[0]] == [replace(hit, row=0) for hit in found[1]]
