"""Confidence of hits against plain loops over the captions of the bank."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.indexes import add_film, make_index, rewrite_index, unit_rows
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError, UsageError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.search.confidence import closest_captions, sample_rows
from vopcli.search.query import Query
from vopcli.search.search import Index

NAMES = [f"{number:02d}.mp4" for number in range(30)]
NUM_CAPTIONS = 600
CAPTIONS = unit_rows(NUM_CAPTIONS, seed=8)


def add_bank(path: Path, captions: NDArray[np.float32] = CAPTIONS) -> None:
    with IndexWriter(path) as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, captions, 15.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of thirty videos and a film of four windows, with a bank."""
    make_index(tmp_path / "i.h5", NAMES)
    add_film(tmp_path / "i.h5", matching=2, windows=range(4), is_whole=True)
    add_bank(tmp_path / "i.h5")
    return tmp_path / "i.h5"


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def s_norms(rows: NDArray[np.float32], query: NDArray[np.float32]) -> list[float]:
    """The S-norm of each row as the hit of a query, by the formula."""
    cosines = [float(row @ query) for row in rows]
    mean, spread = mean_and_deviation(cosines)
    found = []
    for row, cosine in zip(rows, cosines, strict=True):
        closest = sorted((CAPTIONS @ row).tolist(), reverse=True)[:30]
        near, deviation = mean_and_deviation(closest)
        found.append(((cosine - mean) / spread + (cosine - near) / deviation) / 2)
    return found


def test_confidence_is_that_of_plain_loops(path: Path) -> None:
    index = VideoIndex(path)
    rows = np.stack([index.embedding_of(row) for row in index.rows()])
    names = [index.path_of(row) for row in index.rows()]
    others = []
    for number in np.linspace(0, NUM_CAPTIONS - 1, 300).round().astype(int).tolist():
        best = names[int((rows @ CAPTIONS[number]).argmax())]
        values = zip(names, s_norms(rows, CAPTIONS[number]), strict=True)
        others.append(max(value for name, value in values if name != best))
    opened = Index(path, cache=path.parent)
    for seed in range(6):
        query = unit_rows(1, seed=100 + seed)[0] + 0.2 * seed * rows[seed]
        query /= np.linalg.norm(query)
        hits = opened.search(query, top=9, max_false=1.0, pooling="mean")
        assert len(hits) == 9
        for hit in hits:
            own = s_norms(rows, query)[hit.row]
            assert hit.confidence == pytest.approx(sum(other < own for other in others) / 300, abs=0.005)


def test_a_text_near_to_all_videos_has_no_confidence(path: Path) -> None:
    index = VideoIndex(path)
    query = np.mean([index.embedding_of(row) for row in index.rows()], axis=0)
    hits = Index(path, cache=path.parent).search(query, max_false=1.0)
    assert {hit.confidence for hit in hits} == {0.0}


def test_a_large_index_is_judged_by_rows_spread_over_it(path: Path) -> None:
    index = VideoIndex(path)
    every = list(index.rows())
    rows, embeddings = sample_rows(index, 17)
    assert (len(every), rows) == (35, every[::2])
    assert all(map(np.array_equal, map(index.embedding_of, rows), embeddings))


def test_hits_of_less_confidence_are_left_out_and_the_others_ranked_again(path: Path) -> None:
    opened = Index(path, cache=path.parent)
    query = VideoIndex(path).embedding_of(3)
    everything = opened.search(query, max_false=1.0)
    assert opened.search(query) == everything
    assert all(hit.confidence is None for hit in opened.search(Query.parse("like:03.mp4")))
    assert (everything[0].path, everything[0].confidence) == (NAMES[3], 1.0)
    found = opened.search(query, max_false=0.05)
    kept = [hit for hit in everything if hit.confidence is not None and hit.confidence >= 0.95]
    assert [hit.path for hit in found] == [hit.path for hit in kept]
    assert [hit.rank for hit in found] == list(range(1, len(kept) + 1))
    assert len(found) < len(everything)
    assert [len(hits) for hits in opened.search([query, -query], max_false=0.05)] == [len(found), 0]


def test_an_index_without_enough_captions_is_refused(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", NAMES)
    for count in (0, 499):
        if count:
            add_bank(tmp_path / "i.h5", CAPTIONS[:count])
        with pytest.raises(DataError, match=f"has {count} captions") as caught:
            Index(tmp_path / "i.h5", cache=tmp_path).search(CAPTIONS[0], max_false=0.05)
        assert "--querybank" in caught.value.hint


def test_an_index_without_videos_has_no_confidence(path: Path) -> None:
    rewrite_index(path, [])
    add_bank(path)
    opened = Index(path, cache=path.parent)
    assert opened.search(CAPTIONS[0], max_false=0.05) == []
    with pytest.raises(DataError, match="has no videos"):
        opened.prepare_confidence()


def test_pictures_and_wrong_fractions_are_refused(path: Path) -> None:
    opened = Index(path, cache=path.parent)
    with pytest.raises(UsageError, match="only texts have a confidence"):
        opened.search(Query.parse("like:03.mp4"), max_false=0.05)
    for value in (-0.1, 1.5):
        with pytest.raises(UsageError, match="max_false cannot be"):
            opened.search(CAPTIONS[0], max_false=value)


def test_the_closest_captions_are_those_of_sorting() -> None:
    bank = np.random.default_rng(0).normal(size=(60, 300)).astype(np.float32)
    mean, deviation = closest_captions(bank)
    closest = np.sort(bank.astype(float), axis=0)[-3:]
    np.testing.assert_allclose(mean, closest.mean(axis=0))
    np.testing.assert_allclose(deviation, closest.std(axis=0))
    assert closest_captions(np.ones((1, 4)))[1].min() > 0
