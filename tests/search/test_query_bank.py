"""The query bank stored in an index: reading, outdated banks, and the search with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import make_index, new_videos, unit_rows
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.search.query_bank import StoredBank, current_bank, describe_bank, read_bank, search_normalised

BETA = 15.0
NAMES = [f"{number}.mp4" for number in (3, 1, 4, 5, 9, 2, 6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_index(tmp_path / "i.h5", NAMES)
    with IndexWriter(tmp_path / "i.h5") as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(4, seed=8), BETA))
    return tmp_path / "i.h5"


def stored_of(path: Path) -> StoredBank:
    bank = read_bank(VideoIndex(path))
    assert bank is not None
    return bank


def test_search_ranks_by_the_formula(path: Path) -> None:
    index = VideoIndex(path)
    queries = np.stack([index.embedding_of(row) for row in index.rows()])
    videos = queries.astype(np.float64)
    bank = unit_rows(4, seed=8) @ videos.T
    activated = set(bank.argmax(axis=1).tolist())
    opened = 0
    answers = search_normalised(index, current_bank(index), queries, top=4)
    for query, found in zip(queries, answers, strict=True):
        scores = videos @ query
        if int(scores.argmax()) in activated:
            scores = np.log(np.exp(BETA * scores) / np.exp(BETA * bank).sum(axis=0)) / BETA
            opened += 1
        assert found.rows.tolist() == np.argsort(-scores)[:4].tolist()
        np.testing.assert_allclose(found.scores, np.sort(scores)[::-1][:4], atol=1e-6)
    assert 0 < opened < len(NAMES)


def test_bank_is_read_back(path: Path) -> None:
    stored = read_bank(VideoIndex(path))
    assert stored is not None
    np.testing.assert_array_equal(stored.captions, unit_rows(4, seed=8))
    assert (stored.bank.beta, stored.bank.num_captions, stored.is_stale) == (BETA, 4, False)
    described = describe_bank(VideoIndex(path))
    assert described is not None
    assert described["activated_videos"] == int(stored.bank.is_activated.sum())


def test_failed_videos_do_not_make_a_bank_outdated(path: Path) -> None:
    before = stored_of(path)
    with IndexWriter(path) as writer:
        writer.note_failures([(new_videos(["broken.mp4"])[0], "not a video")])
    assert not stored_of(path).is_stale
    index = VideoIndex(path)
    query = index.embedding_of(0)
    [found] = search_normalised(index, current_bank(index), query[None], top=len(NAMES))
    assert sorted(found.rows.tolist()) == list(index.rows())
    with IndexWriter(path) as writer:
        writer.rewrite(list(writer.index.rows()))
    np.testing.assert_array_equal(stored_of(path).bank.column, before.bank.column)


def test_missing_and_outdated_banks_are_refused(path: Path, tmp_path: Path) -> None:
    make_index(tmp_path / "none.h5", NAMES)
    assert read_bank(VideoIndex(tmp_path / "none.h5")) is None
    assert describe_bank(VideoIndex(tmp_path / "none.h5")) is None
    with pytest.raises(DataError, match=r"none\.h5 has no query bank"):
        current_bank(VideoIndex(tmp_path / "none.h5"))
    make_index(path, ["new.mp4"], seed=1)
    with pytest.raises(DataError, match="is outdated"):
        current_bank(VideoIndex(path))
