"""The contract that every search engine keeps: order, shorter answers, independence of other queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, encoded_video, new_videos, unit_rows
from vopcli.config.choices import MEAN, NormRule, Pooling, parse_pooling
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError, UsageError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.engine import best_rows, dot_half_rows, dot_rows
from vopcli.search.ranking import choose_engine

NAMES = [f"{(7 * i) % 40:02}.mp4" for i in range(40)]
ENGINES = {
    "exact": (MEAN, NormRule.NONE),
    "pooled": (parse_pooling("top-2"), NormRule.NONE),
    "qb-norm": (MEAN, NormRule.QB),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    """40 videos with names in no order, each equal to three others, and a query bank."""
    path = tmp_path_factory.mktemp("engine") / "i.h5"
    create_index(path, META)
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(NAMES))
        different = [vars(encoded_video(number)) for number in range(10)]
        writer.add([type(encoded_video(0))(**{**different[i % 10], "slot": i}) for i in range(40)])
    with IndexWriter(path) as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(5, seed=8), 20.0))
    return VideoIndex(path)


@pytest.mark.parametrize("rule", ENGINES.values(), ids=ENGINES)
def test_engine_keeps_the_contract(index: VideoIndex, rule: tuple[Pooling, NormRule]) -> None:
    rank = choose_engine(index, *rule)
    queries = unit_rows(9, seed=3)
    longest = rank(queries, top=100)
    assert len(longest) == 9
    for query, found in zip(queries, longest, strict=True):
        assert sorted(found.rows.tolist()) == list(range(40))
        assert found.scores.dtype == np.float32
        listed = [(-score, NAMES[row]) for row, score in zip(found.rows, found.scores, strict=True)]
        assert listed == sorted(listed)
        for top in (1, 2, 7, 40):
            (shorter,) = rank(query[None], top=top)
            np.testing.assert_array_equal(shorter.rows, found.rows[:top])
            np.testing.assert_array_equal(shorter.scores, found.scores[:top])


def test_qb_norm_needs_the_mean_and_a_bank(index: VideoIndex, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="QB-Norm"):
        choose_engine(index, parse_pooling("max"), NormRule.QB)
    create_index(tmp_path / "i.h5", META)
    with pytest.raises(DataError, match="query bank"):
        choose_engine(VideoIndex(tmp_path / "i.h5"), MEAN, NormRule.QB)


def test_best_rows_asks_for_paths_of_equal_scores_only() -> None:
    asked = []

    def path_of(row: int) -> str:
        asked.append(row)
        return f"{100 - row}"

    rows, scores = np.array([3, 5, 8, 9, 11]), np.array([0.5, 0.9, 0.5, 0.1, 0.7], np.float32)
    found = best_rows(rows, scores, 3, path_of)
    assert found.rows.tolist() == [5, 11, 8]
    assert found.scores.tolist() == scores[[1, 4, 2]].tolist()
    assert sorted(asked) == [3, 8]
    assert best_rows(rows[:0], scores[:0], 3, path_of).rows.tolist() == []


def test_dot_rows_without_vecdot(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, query = unit_rows(7, width=33), unit_rows(1, width=33, seed=1)[0]
    out = np.empty(7, np.float32)
    dot_rows(rows, query, out)
    np.testing.assert_allclose(out, rows.astype(np.float64) @ query, atol=1e-6)
    monkeypatch.delattr(np, "vecdot", raising=False)  # as in NumPy 1.26
    other = np.empty(7, np.float32)
    dot_rows(rows, query, other)
    np.testing.assert_allclose(other, out, atol=1e-6)


def test_each_float16_number_is_widened_exactly() -> None:
    """All 65,536 bit patterns, subnormal, infinite and NaN among them, each in a row of its own."""
    rows = np.arange(65536, dtype=np.uint16).view(np.float16)[:, None]
    queries = np.array([[1.0], [-0.5]], np.float32)
    with np.errstate(invalid="ignore"):
        expected = rows.astype(np.float32)[:, 0] * queries
        np.testing.assert_array_equal(dot_half_rows(rows, queries), expected)
    finite = rows[np.isfinite(rows[:, 0])]
    np.testing.assert_array_equal(dot_half_rows(finite, queries[:1])[0], finite[:, 0].astype(np.float32))


def test_products_of_float16_rows_are_those_of_float32() -> None:
    rows = np.random.default_rng(0).standard_normal((1300, 40)).astype(np.float16)  # three blocks
    queries = unit_rows(2)[:, :40]
    expected = rows.astype(np.float64) @ queries.T.astype(np.float64)
    np.testing.assert_allclose(dot_half_rows(rows, queries), expected.T, atol=1e-5)
    assert dot_half_rows(rows[:0], queries).shape == (2, 0)
