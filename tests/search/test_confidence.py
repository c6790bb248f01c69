"""Confidence of hits against plain loops over the captions of the bank."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.indexes import add_film, make_index, new_videos, unit_rows
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError, UsageError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.search.confidence import closest_captions
from vopcli.search.hits import Hit
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


def judge(rows: NDArray[np.float32], query: NDArray[np.float32], hit: int) -> tuple[float, float]:
    """Closeness and prominence of a row as the hit of a query, by the formulas."""
    cosines = [float(row @ query) for row in rows]
    closest = sorted((float(caption @ rows[hit]) for caption in CAPTIONS), reverse=True)[:30]
    near, spread = mean_and_deviation(closest)
    mean, deviation = mean_and_deviation(cosines)
    return (cosines[hit] - near) / spread, (cosines[hit] - mean) / deviation


def fraction(value: float, others: list[float]) -> float:
    return sum(other < value for other in others) / len(others)


def test_confidence_is_that_of_plain_loops(path: Path) -> None:
    index = VideoIndex(path)
    rows = np.stack([index.embedding_of(row) for row in index.rows()])
    names = [index.path_of(row) for row in index.rows()]
    others = []
    for number in np.linspace(0, NUM_CAPTIONS - 1, 300).round().astype(int).tolist():
        order = np.argsort(-(rows @ CAPTIONS[number])).tolist()
        second = next(row for row in order if names[row] != names[order[0]])
        others.append(judge(rows, CAPTIONS[number], second))
    parts = [[values[side] for values in others] for side in (0, 1)]
    lesser = [min(fraction(values[side], parts[side]) for side in (0, 1)) for values in others]
    opened = Index(path, cache=path.parent)
    for seed in range(6):
        query = unit_rows(1, seed=100 + seed)[0] + 0.2 * seed * rows[seed]
        query /= np.linalg.norm(query)
        hits = opened.search(query, top=9, max_false=1.0, pooling="mean")
        assert len(hits) == 9
        for hit in hits:
            own = judge(rows, query, hit.row)
            expected = fraction(min(fraction(own[side], parts[side]) for side in (0, 1)), lesser)
            assert hit.confidence == pytest.approx(expected, abs=0.005)


def test_hits_of_less_confidence_are_left_out_and_the_others_ranked_again(path: Path) -> None:
    opened = Index(path, cache=path.parent)
    query = VideoIndex(path).embedding_of(3)
    assert all(hit.confidence is None for hit in opened.search(query))
    everything = opened.search(query, max_false=1.0)
    assert (everything[0].path, everything[0].confidence) == (NAMES[3], 1.0)
    found = opened.search(query, max_false=0.05)
    kept = [hit for hit in everything if hit.confidence is not None and hit.confidence >= 0.95]
    assert [hit.path for hit in found] == [hit.path for hit in kept]
    assert [hit.rank for hit in found] == list(range(1, len(kept) + 1))
    assert len(found) < len(everything)
    assert [len(hits) for hits in opened.search([query, -query], max_false=0.05)] == [len(found), 0]


def test_the_captions_are_searched_for_once_per_state_of_the_index(path: Path) -> None:
    query = unit_rows(1, seed=5)[0]

    def search() -> list[Hit]:
        return Index(path, cache=path.parent).search(query, max_false=1.0, pooling="mean")

    first = search()
    [file] = (path.parent / "confidence").glob("*.npy")
    held = np.load(file)
    np.save(file, np.zeros_like(held))
    assert search() != first  # it is read
    for damage in (b"", file.read_bytes()[:200]):
        file.write_bytes(damage)
        assert search() == first
    with IndexWriter(path) as writer:
        writer.note_failures([(new_videos(["broken.mp4"])[0], "not a video")])
    search()
    assert len(list((path.parent / "confidence").glob("*.npy"))) == 2


def test_an_index_without_enough_captions_is_refused(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", NAMES)
    for count in (0, 499):
        if count:
            add_bank(tmp_path / "i.h5", CAPTIONS[:count])
        with pytest.raises(DataError, match=f"has {count} captions") as caught:
            Index(tmp_path / "i.h5", cache=tmp_path).search(CAPTIONS[0], max_false=0.05)
        assert "--querybank" in caught.value.hint


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
