"""Exact search against a plain float64 ranking, and what must not change an answer."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.indexes import unit_rows
from vopcli.errors import DataError
from vopcli.search.engine import Found
from vopcli.search.exact import Part, search_exact


def all_live(rows: NDArray[np.float32]) -> Part:
    return Part(rows, np.ones(len(rows), np.bool_))


def ranked(
    rows: NDArray[np.float32], query: NDArray[np.float32], paths: list[str], live: NDArray[np.bool_]
) -> list[tuple[float, str]]:
    """The whole list by definition: cosines in float64, then sorted by score and path."""
    scores = (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    pairs = [(float(score), path) for score, path, counts in zip(scores, paths, live, strict=True) if counts]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def as_pairs(found: Found, paths: list[str]) -> list[tuple[float, str]]:
    return [
        (score, paths[row]) for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    ]


def shuffled_paths(count: int, seed: int = 5) -> list[str]:
    return [f"v{number:06d}.mp4" for number in np.random.default_rng(seed).permutation(count)]


@pytest.mark.parametrize(
    ("num_queries", "top"), [(1, 1), (1, 2500), (3, 10), (7, 10), (37, 1), (37, 2500), (1100, 3)]
)
def test_equals_the_ranking_by_definition(num_queries: int, top: int) -> None:
    sizes = [1300, 1, 0, 899]
    rows, queries = unit_rows(sum(sizes), width=33), unit_rows(num_queries, width=33, seed=1)
    rows[700:760] = rows[3]  # ties across blocks
    live = np.random.default_rng(2).random(len(rows)) < 0.9
    rows[~live] = np.nan  # what lies in a row that does not count is nobody's business
    paths = shuffled_paths(len(rows))
    edges = np.cumsum([0, *sizes])
    parts = [Part(rows[a:b], live[a:b]) for a, b in pairwise(edges)]

    found = search_exact(parts, queries, top=top, path_of=paths.__getitem__)

    assert len(found) == num_queries
    for answer, query in zip(found, queries, strict=True):
        assert as_pairs(answer, paths) == ranked(rows, query, paths, live)[:top]


@pytest.mark.slow
def test_large_gallery_in_many_blocks() -> None:
    rows, queries = unit_rows(70_000, width=24), unit_rows(8, width=24, seed=1)
    paths = shuffled_paths(len(rows))
    parts = [all_live(rows[begin : begin + 9_000]) for begin in range(0, len(rows), 9_000)]
    for num_queries in (1, 5, 8):
        found = search_exact(parts, queries[:num_queries], top=50, path_of=paths.__getitem__)
        for answer, query in zip(found, queries, strict=False):
            assert as_pairs(answer, paths) == ranked(rows, query, paths, np.ones(len(rows), np.bool_))[:50]


def test_scores_and_order_do_not_depend_on_how_it_is_computed() -> None:
    rows, queries = unit_rows(20_000, width=512), unit_rows(40, width=512, seed=1)
    rows[9_000:12_000] = rows[1]
    queries[7] = rows[1]
    paths = shuffled_paths(len(rows))

    def answers(
        queries: NDArray[np.float32], parts: list[Part], top: int, threads: int
    ) -> list[list[tuple[float, str]]]:
        found = search_exact(parts, queries, top=top, path_of=paths.__getitem__, num_threads=threads)
        return [as_pairs(answer, paths) for answer in found]

    whole = [all_live(rows)]
    expected = answers(queries, whole, 100, 2)
    assert answers(queries, whole, 100, 1) == expected
    assert answers(queries, whole, 7, 3) == [answer[:7] for answer in expected]
    assert answers(queries, [all_live(rows[:777]), all_live(rows[777:])], 100, 2) == expected
    assert [answers(query[None], whole, 100, 2)[0] for query in queries] == expected
    assert answers(queries[6:9], whole, 2, 2) == [answer[:2] for answer in expected[6:9]]


@pytest.mark.parametrize("num_parts", [1, 5])
def test_many_equal_scores_are_ordered_by_path(num_parts: int) -> None:
    rows = np.repeat(unit_rows(1), 150_000, axis=0)
    paths = shuffled_paths(len(rows))
    parts = [all_live(part) for part in np.array_split(rows, num_parts)]
    (found,) = search_exact(parts, unit_rows(1, seed=3), top=20, path_of=paths.__getitem__)
    assert [path for _, path in as_pairs(found, paths)] == sorted(paths)[:20]


def test_scores_closer_than_float32_can_add_up_are_told_apart() -> None:
    query = unit_rows(1, width=512)[0]
    other = unit_rows(1, width=512, seed=1)[0]
    rows = np.stack([query + np.float32(1e-6) * number * other for number in range(5_000)])
    paths = shuffled_paths(len(rows))
    (found,) = search_exact([all_live(rows)], query[None], top=100, path_of=paths.__getitem__)
    assert as_pairs(found, paths) == ranked(rows, query, paths, np.ones(len(rows), np.bool_))[:100]


def test_best_rows_last() -> None:
    query = unit_rows(1, width=16)[0]
    rows = np.linspace(-1, 1, 200_000, dtype=np.float32)[:, None] * query
    (found,) = search_exact([all_live(rows)], query[None], top=3, path_of=str)
    assert found.rows.tolist() == [199_999, 199_998, 199_997]


@pytest.mark.parametrize("num_queries", [1, 8])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_is_refused(num_queries: int, bad: float) -> None:
    rows = unit_rows(6_000)
    rows[5_000, 3] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        search_exact([all_live(rows)], unit_rows(num_queries, seed=1), top=5, path_of=str)


def test_empty_gallery_and_no_queries() -> None:
    (found,) = search_exact([], unit_rows(1), top=5, path_of=str)
    assert len(found.rows) == len(found.scores) == 0
    dead = Part(unit_rows(9), np.zeros(9, np.bool_))
    for answer in search_exact([dead], unit_rows(5), top=5, path_of=str):
        assert len(answer.rows) == 0
    assert search_exact([all_live(unit_rows(9))], unit_rows(0), top=5, path_of=str) == []


def test_arguments_that_make_no_sense() -> None:
    part = all_live(unit_rows(4))
    with pytest.raises(ValueError, match="top is 0"):
        search_exact([part], unit_rows(1), top=0, path_of=str)
    with pytest.raises(ValueError, match="do not fit"):
        search_exact([part], unit_rows(1, width=7), top=1, path_of=str)
    with pytest.raises(ValueError, match="must be finite"):
        search_exact([part], unit_rows(1) * np.nan, top=1, path_of=str)


@pytest.mark.slow
def test_gallery_larger_than_the_memory_it_may_take(tmp_path: Path) -> None:
    """100 MB of mapped rows and 800 MB of scores pass through a process that may allocate 250 MB."""
    script = """
        import resource, sys
        import numpy as np
        from vopcli.search.exact import Part, search_exact

        rows = np.memmap(sys.argv[1], np.float32, "r", shape=(100_000, 256)).view(np.ndarray)
        queries = np.random.default_rng(1).standard_normal((2_000, 256)).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        resource.setrlimit(resource.RLIMIT_DATA, (250 << 20, 250 << 20))
        part = Part(rows, np.ones(len(rows), np.bool_))
        found = search_exact([part], queries, top=10, path_of=str)
        assert len(found) == 2000 and found[17].rows[0] == int((rows @ queries[17]).argmax())
    """
    file = tmp_path / "rows.f32"
    with file.open("wb") as out:
        for seed in range(5):
            out.write(unit_rows(20_000, width=256, seed=seed).tobytes())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(file)],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
