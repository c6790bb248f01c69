"""Exact search: the rows with the highest cosine to a query, streamed so that an index may exceed memory.

Float32 scores, which are fast, select candidates; float64 scores rank them. The last bits of a float32 score
depend on the order of the sum, hence on the block and the number of queries, but its error has a known bound.
A row further than twice that bound below the k-th best score cannot be among the k best. For k = 2, with an
error of at most 0.02 instead of the real 3e-5:

    row      a     b     c     d     e
    float32  0.81  0.93  0.79  0.60  0.82    2nd best 0.82, minus 0.04: all but d are candidates
    float64  0.82  0.92  0.79        0.82    best is b, then a or e: the one whose path comes first

So neither block size, nor the number of threads or queries, nor k changes a score or the order of two rows:
a shorter answer is the beginning of a longer one.

Axes: Q queries, N rows of a part, n rows of a block, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.files.arrays import distinct
from vopcli.resources import usable_cores
from vopcli.search.engine import Floats, Found, Ints, PathOf, best_rows, check_finite, dot_rows

_BLOCK_SCORES: Final = 1 << 22  # scores in memory at a time, Q * n
_MOST_QUERIES: Final = 1024  # more are searched in groups
_FEW_QUERIES: Final = (
    6  # up to here a dot product per row beats a matrix product, which copies the rows first
)
_CACHED_ROWS: Final = 1024  # rows that stay in a core's cache from one query to the next
_SAMPLED_ROWS: Final = 2048  # rows that give the first lower bound of the k-th best score
_CANDIDATES: Final = 1 << 16  # in memory at a time, besides twice the answer
_RESCORED_ROWS: Final = 2048  # in memory at a time as float64
_LOWEST: Final = np.finfo(np.float32).min


@dataclass(frozen=True)
class Part:
    """A contiguous range of the rows to search.

    Attributes:
        embeddings: (N, E) float32, L2-normalised; may be a mapped file.
        is_live: (N,) bool, False for rows to ignore.
    """

    embeddings: Floats
    is_live: NDArray[np.bool_]


def search_exact(
    parts: Sequence[Part], queries: Floats, *, top: int, path_of: PathOf, num_threads: int | None = None
) -> list[Found]:
    """Find the ``top`` rows of highest cosine for each query, in order of falling score, then path.

    Args:
        parts: the rows to search.
        queries: (Q, E) L2-normalised.
        top: maximum number of rows per query.
        path_of: the path of a row, called only for rows of equal score.
        num_threads: one per usable core by default.

    Raises:
        ValueError: `queries` is not finite or not of width E, or `top` is less than 1.
        DataError: an embedding of a live row is not finite.
    """
    if top < 1:
        raise ValueError(f"top is {top}, it must be at least 1")
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or not np.isfinite(queries).all():
        raise ValueError(f"queries must be finite and of shape (Q, E), got shape {queries.shape}")
    for part in parts:
        if part.embeddings.shape[1:] != queries.shape[1:]:
            raise ValueError(
                f"queries of shape {queries.shape} do not fit embeddings of shape {part.embeddings.shape}"
            )
    top = min(top, max(sum(len(part.is_live) for part in parts), 1))
    found = []
    for begin in range(0, len(queries), _MOST_QUERIES):
        group = queries[begin : begin + _MOST_QUERIES]
        candidates = _Candidates(parts, group, top, path_of)
        for start, scores in _iter_scores(parts, group, num_threads or usable_cores()):
            candidates.offer(start, scores)
        found += candidates.best()
    return found


class _Candidates:
    """Rows that may belong to the answers: blocks of query number, row and score, all three of shape (C,)."""

    def __init__(self, parts: Sequence[Part], queries: Floats, top: int, path_of: PathOf) -> None:
        self._parts, self._queries, self._top, self._path_of = parts, queries, top, path_of
        # a float32 dot product of E terms errs by at most E * 2**-24 times the norms, in any order of sums
        self._margin = np.float32(2.2 * queries.shape[1] * 2.0**-24)
        self._floors = np.full(len(queries), -np.inf, np.float32)  # lower bound of the top-th best score
        self._blocks = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        self._count = 0

    def offer(self, start: int, scores: Floats) -> None:
        """Keep from a block's float32 scores (Q, n) those that may matter; -inf never does."""
        width = scores.shape[1]
        if not self._count and width >= self._top:
            sample = scores[:, : max(_SAMPLED_ROWS, self._top)]
            self._floors = np.partition(sample, -self._top, axis=1)[:, -self._top]
        limits = np.maximum(self._floors - self._margin, _LOWEST)
        flat = np.flatnonzero(scores >= limits[:, None])
        self._blocks.append((flat // width, flat % width + start, scores.reshape(-1)[flat]))
        self._count += len(flat)
        if self._count > 2 * self._top * len(self._queries) + _CANDIDATES:
            self._shrink()

    def best(self) -> list[Found]:
        """Return the best rows of each query."""
        query_of, rows, scores = (np.concatenate(arrays) for arrays in zip(*self._blocks, strict=True))
        order = np.lexsort((-scores, query_of))
        numbers = np.arange(len(self._queries) + 1)
        begins = np.searchsorted(query_of[order], numbers)
        last = begins[:-1] + self._top - 1
        full = last < begins[1:]
        self._floors[full] = np.maximum(self._floors[full], scores[order[last[full]]])
        near = order[scores[order] >= self._floors[query_of[order]] - self._margin]
        exact = _rescore(self._parts, rows[near], self._queries, query_of[near])
        ends = np.searchsorted(query_of[near], numbers).tolist()
        return [
            best_rows(rows[near[begin:end]], exact[begin:end], self._top, self._path_of)
            for begin, end in pairwise(ends)
        ]

    def _shrink(self) -> None:
        best = self.best()
        self._blocks = [
            (np.full(len(found.rows), query), found.rows, found.scores) for query, found in enumerate(best)
        ]
        self._count = sum(len(found.rows) for found in best)


def _iter_scores(parts: Sequence[Part], queries: Floats, num_threads: int) -> Iterator[tuple[int, Floats]]:
    """Yield each block's first row and float32 scores (Q, n), -inf for rows to ignore.

    Raises:
        DataError: an embedding of a live row is not finite.
    """
    start = 0
    with ThreadPoolExecutor(num_threads) as pool:
        for part in parts:
            size = _BLOCK_SCORES // len(queries)
            for begin in range(0, len(part.is_live), size):
                rows, is_live = part.embeddings[begin : begin + size], part.is_live[begin : begin + size]
                scores = np.empty((len(queries), len(rows)), np.float32)
                if len(queries) > _FEW_QUERIES:
                    np.matmul(queries, rows.T, out=scores)  # BLAS has threads of its own
                else:
                    _dot_in_threads(rows, queries, scores, pool, num_threads)
                if not is_live.all():
                    scores[:, ~is_live] = -np.inf
                # a damaged row spoils the score of each query, so the first shows it
                check_finite(scores[:1, is_live].sum(dtype=np.float64, keepdims=True), "the index")
                yield start + begin, scores
            start += len(part.is_live)


def _dot_in_threads(
    rows: Floats, queries: Floats, scores: Floats, pool: ThreadPoolExecutor, num_threads: int
) -> None:
    def work(first: int) -> None:
        for begin in range(first * _CACHED_ROWS, len(rows), num_threads * _CACHED_ROWS):
            chunk = slice(begin, begin + _CACHED_ROWS)
            for query, out in zip(queries, scores, strict=True):
                dot_rows(rows[chunk], query, out[chunk])

    list(pool.map(work, range(num_threads)))


def _rescore(parts: Sequence[Part], rows: Ints, queries: Floats, query_of: Ints) -> Floats:
    """Return the cosine (C,) of each of the rows (C,) with its query, summed in float64, row by row."""
    scores = np.empty(len(rows), np.float32)
    starts = np.cumsum([0, *(len(part.is_live) for part in parts)])
    part_of = np.searchsorted(starts, rows, side="right") - 1
    for number in distinct(part_of).tolist():
        places = np.flatnonzero(part_of == number)
        for begin in range(0, len(places), _RESCORED_ROWS):
            chunk = places[begin : begin + _RESCORED_ROWS]
            embeddings = parts[number].embeddings[rows[chunk] - starts[number]].astype(np.float64)
            embeddings *= queries[query_of[chunk]]
            scores[chunk] = embeddings.sum(axis=1)
    return scores
