"""An index that is changed while it is searched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.support.indexes import make_index, rewrite_index, unit_rows
from tests.support.web import NAMES, add_videos, write_site
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.search.search import Index
from vopcli.web.served import ServedIndex, find_video, row_tag


async def lengths(served: ServedIndex, changes: list[Callable[[], object]]) -> list[int]:
    """The number of videos some time after each change."""
    found = []
    for change in changes:
        before = served.index
        change()
        for _ in range(20):  # until the index was opened again, if it can be
            if await served.fresh() is not before:
                break
            await anyio.sleep(0.02)
        found.append(len(served.index))
    return found


def test_changes_of_the_file_are_seen_and_damage_is_not(tmp_path: Path) -> None:
    index = write_site(tmp_path)
    served = ServedIndex(index, Index, look_seconds=0)

    def add() -> None:
        os.link(tmp_path / "videos/plain.mp4", tmp_path / "videos/new.mp4")
        add_videos(index, tmp_path / "videos", ["new.mp4"])

    def damage() -> None:
        index.write_bytes(b"no index")

    assert anyio.run(lengths, served, [lambda: None, add, lambda: rewrite_index(index, [0, 1]), damage]) == [
        4,
        5,
        2,
        2,
    ]


def test_a_changed_index_gets_a_confidence(tmp_path: Path) -> None:
    index = write_site(tmp_path)
    served = ServedIndex(index, Index, look_seconds=0)
    assert "0 captions" in str(served.no_confidence)

    def add_bank() -> None:
        with IndexWriter(index) as writer:
            rows = list(writer.current().rows())
            writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(600, seed=3), 20.0))

    async def change() -> None:
        await lengths(served, [add_bank])
        for _ in range(200):
            if served.no_confidence is None:
                break
            assert len(await served.fresh()) == len(NAMES)
            await anyio.sleep(0.02)

    anyio.run(change)
    assert served.no_confidence is None
    assert served.index.search("a dog", max_false=1)[0].confidence is not None


def test_a_search_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    index = write_site(tmp_path)
    with IndexWriter(index):
        served = ServedIndex(index, Index)
        assert len(anyio.run(served.fresh)) == len(NAMES)


def test_a_missing_index_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ServedIndex(tmp_path / "idx.h5", Index)


def test_rows_are_checked(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", ["a.mp4", "b.mp4", "c.mp4"])
    with IndexWriter(tmp_path / "i.h5") as writer:
        writer.remove([1])
    videos = VideoIndex(tmp_path / "i.h5")
    found = [find_video(videos, row, None) for row in (-1, 0, 1, 2, 3, 10**30)]
    assert [video and video.path for video in found] == [None, "a.mp4", None, "c.mp4", None, None]
    tags = [row_tag(videos, row) for row in (0, 2)]
    rewrite_index(tmp_path / "i.h5", [2])
    videos = VideoIndex(tmp_path / "i.h5")
    assert find_video(videos, 0, tags[0]) is None
    assert find_video(videos, 0, row_tag(videos, 0)).path == "c.mp4"
