"""Exact search: the videos with the highest cosine to a query, streamed, so that an index may exceed memory.

A fast pass in float32 finds the rows that could belong to the answer: rounding moves a score by no more than
a known bound, and a row further than that below the k-th best cannot be among the k best. Those few rows are
scored again in float64, each by itself. So neither the block size, the number of threads or queries, nor
``top`` changes a score, and equal scores are put in the order of their paths.

Axes: Q queries, N rows of a matrix, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.resources import usable_cores

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_BLOCK_SCORES: Final = 1 << 22  # held at a time: rows of a block times queries
_LONGEST_BLOCK: Final = 32768  # rows: few calls, for each pays for waking threads
_SHORTEST_BLOCK: Final = 512
_CACHED_ROWS: Final = 1024  # that stay in a core's cache from one query to the next
_GROUP_QUERIES: Final = 1024  # so many queries' scores of a block are held at a time
_FEW_QUERIES: Final = 6  # up to here a dot product a row beats a matrix product, which copies the rows first
_SAMPLED_ROWS: Final = 512  # of the first block, to find out which scores are worth a look
_CANDIDATES: Final = 1 << 16  # beyond what the answer needs, before they are thinned out
_RESCORED: Final = 2048  # at a time
_LOWEST: Final = np.finfo(np.float32).min


@dataclass(frozen=True)
class Part:
    """Some rows of the gallery.

    Attributes:
        embeddings: (N, E) float32, L2-normalised; may be a mapped file.
        is_live: (N,) bool, the rows that count.
    """

    embeddings: Floats
    is_live: NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The best rows of one query, best first: their numbers, counted through all parts, and their cosines."""

    rows: Ints
    scores: Floats


class Gallery:
    """All rows there are to search, and the path of each."""

    def __init__(self, parts: Sequence[Part], path_of: Callable[[int], str]) -> None:
        self.path_of = path_of
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part.is_live) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def blocks(self, block_rows: int) -> Iterator[tuple[int, Part]]:
        """Yield the rows in blocks of so many, each with the number of its first row."""
        for start, part in zip(self._starts.tolist(), self._parts, strict=False):
            for begin in range(0, len(part.is_live), block_rows):
                rows = slice(begin, begin + block_rows)
                yield start + begin, Part(part.embeddings[rows], part.is_live[rows])

    def score(self, rows: Ints, queries: Floats, query_of: Ints) -> Floats:
        """Return the cosine of each row with the query beside it, computed in float64, pair by pair.

        Args:
            rows: (C,) numbers of rows.
            queries: (Q, E).
            query_of: (C,) numbers of queries.
        """
        scores = np.empty(len(rows), np.float32)
        for begin in range(0, len(rows), _RESCORED):
            chunk = slice(begin, begin + _RESCORED)
            embeddings = self._gather(rows[chunk])  # (C, E) float64
            embeddings *= queries[query_of[chunk]]
            scores[chunk] = embeddings.sum(axis=1)  # along a row: the same order of sums whatever the chunk
        return scores

    def _gather(self, rows: Ints) -> NDArray[np.float64]:
        if len(self._parts) == 1:
            return self._parts[0].embeddings[rows].astype(np.float64)
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        gathered = np.empty((len(rows), self._parts[0].embeddings.shape[1]))
        for number in np.unique(numbers).tolist():
            here = numbers == number
            gathered[here] = self._parts[number].embeddings[rows[here] - self._starts[number]]
        return gathered


class Candidates:
    """The rows that may belong to the answers of some queries: row, query and score in three flat arrays."""

    def __init__(self, gallery: Gallery, queries: Floats, top: int) -> None:
        self._gallery = gallery
        self._queries = queries
        self._top = top
        # a float32 dot product of E terms errs by at most E * 2**-24 times the norms, in any order of sums
        self._margin = np.float32(2.2 * queries.shape[1] * 2.0**-24)
        self._floors = np.full(len(queries), -np.inf, np.float32)  # a lower bound of the top-th best score
        self._rows = [np.empty(0, np.int64)]
        self._query_of = [np.empty(0, np.int64)]
        self._scores = [np.empty(0, np.float32)]
        self._most = 2 * top * len(queries) + _CANDIDATES
        self._count = 0

    def offer(self, start: int, scores: Floats) -> None:
        """Take from a block's float32 scores (Q, n) those that may matter; -inf never does."""
        width = scores.shape[1]
        sample = max(_SAMPLED_ROWS, 4 * self._top)
        if self._count == 0 and width >= sample:
            best = np.partition(scores[:, :sample], sample - self._top, axis=1)[:, sample - self._top]
            self._floors = np.maximum(self._floors, best)
        limits = np.maximum(self._floors - self._margin, _LOWEST)
        flat = np.flatnonzero(scores >= limits[:, None])
        self._add(flat % width + start, flat // width, scores.reshape(-1)[flat])

    def merge(self, other: Candidates) -> None:
        """Take over what another one, for the same queries, has found in other rows."""
        for rows, query_of, scores in zip(other._rows, other._query_of, other._scores, strict=True):
            self._add(rows, query_of, scores)

    def answers(self) -> list[Found]:
        """Return the best rows of each query."""
        self._settle()
        ends = np.searchsorted(self._query_of[0], np.arange(len(self._queries) + 1))
        return [
            Found(self._rows[0][begin:end], self._scores[0][begin:end])
            for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        ]

    def _add(self, rows: Ints, query_of: Ints, scores: Floats) -> None:
        if not len(rows):
            return
        self._rows.append(rows)
        self._query_of.append(query_of)
        self._scores.append(scores)
        self._count += len(rows)
        if self._count > self._most:
            self._thin()
        if self._count > self._most:  # a great many scores that rounding alone may have set apart
            self._settle()

    def _join(self) -> tuple[Ints, Ints, Floats]:
        return np.concatenate(self._rows), np.concatenate(self._query_of), np.concatenate(self._scores)

    def _replace(self, rows: Ints, query_of: Ints, scores: Floats) -> None:
        self._rows, self._query_of, self._scores = [rows], [query_of], [scores]
        self._count = len(rows)

    def _thin(self) -> None:
        """Drop what is too far below the top-th best score seen so far."""
        rows, query_of, scores = self._join()
        order = np.lexsort((-scores, query_of))
        begins = np.searchsorted(query_of[order], np.arange(len(self._queries) + 1))
        places = begins[:-1] + self._top - 1
        full = places < begins[1:]
        self._floors[full] = np.maximum(self._floors[full], scores[order[places[full]]])
        kept = scores >= self._floors[query_of] - self._margin
        self._replace(rows[kept], query_of[kept], scores[kept])

    def _settle(self) -> None:
        """Score all candidates for good and keep the best, sorted by query, score and path."""
        self._thin()
        rows, query_of, _ = self._join()
        scores = self._gallery.score(rows, self._queries, query_of)
        order = self._sorted(rows, query_of, scores)
        begins = np.searchsorted(query_of[order], np.arange(len(self._queries)))
        kept = order[np.arange(len(order)) - begins[query_of[order]] < self._top]
        self._replace(rows[kept], query_of[kept], scores[kept])

    def _sorted(self, rows: Ints, query_of: Ints, scores: Floats) -> Ints:
        """Return the order by query, falling score and path; paths are looked up for equal scores only."""
        order = np.lexsort((-scores, query_of))
        same = (np.diff(scores[order]) == 0) & (np.diff(query_of[order]) == 0)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
        for begin, last in edges.reshape(-1, 2).tolist():
            tied = order[begin : last + 1]
            order[begin : last + 1] = sorted(
                tied.tolist(), key=lambda item: self._gallery.path_of(int(rows[item]))
            )
        return order


def search_exact(
    parts: Sequence[Part],
    queries: Floats,
    *,
    top: int,
    path_of: Callable[[int], str],
    num_threads: int | None = None,
) -> list[Found]:
    """Find the ``top`` rows of highest cosine for each query; of equal ones those whose path comes first.

    Args:
        parts: the gallery.
        queries: (Q, E) L2-normalised.
        top: at most so many rows a query.
        path_of: the path of a row, asked for where scores are equal.
        num_threads: one a usable core unless given.

    Returns:
        One answer a query, in order of falling score, then path.

    Raises:
        ValueError: a query is not finite or not of width E, or ``top`` is less than 1.
        DataError: an embedding of a live row is not finite.
    """
    if top < 1:
        raise ValueError(f"top is {top}, it must be at least 1")
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or not np.isfinite(queries).all():
        raise ValueError(f"queries must be finite and of shape (Q, E), got shape {queries.shape}")
    for part in parts:
        if part.embeddings.shape[1:] != queries.shape[1:]:
            raise ValueError(f"queries of shape {queries.shape} do not fit {part.embeddings.shape=}")
    if not len(queries):
        return []
    top = min(top, max(sum(len(part.is_live) for part in parts), 1))
    gallery = Gallery(parts, path_of)
    num_threads = num_threads or usable_cores()
    with ThreadPoolExecutor(num_threads) as pool:
        search = _search_few if len(queries) <= _FEW_QUERIES else _search_many
        return search(gallery, queries, top, pool, num_threads)


def _search_few(
    gallery: Gallery, queries: Floats, top: int, pool: ThreadPoolExecutor, num_threads: int
) -> list[Found]:
    """Let each thread walk through blocks of its own: the memory's bandwidth is the bound."""
    share = len(gallery) // (4 * num_threads)  # so that all have the same to do, also in a small gallery
    blocks = list(gallery.blocks(min(max(share, _SHORTEST_BLOCK), _LONGEST_BLOCK)))

    def walk(number: int) -> Candidates:
        candidates = Candidates(gallery, queries, top)
        for start, block in blocks[number::num_threads]:
            scores = np.empty((len(queries), len(block.is_live)), np.float32)
            step = _CACHED_ROWS if len(queries) > 1 else _LONGEST_BLOCK
            for begin in range(0, scores.shape[1], step):
                rows = slice(begin, begin + step)
                for query, row in zip(queries, scores, strict=True):
                    dot_rows(block.embeddings[rows], query, row[rows])
            candidates.offer(start, _checked(scores, block))
        return candidates

    first, *others = pool.map(walk, range(num_threads))
    for other in others:
        first.merge(other)
    return first.answers()


def _search_many(
    gallery: Gallery, queries: Floats, top: int, pool: ThreadPoolExecutor, num_threads: int
) -> list[Found]:
    """Read each block once and multiply it with all queries, on the threads that BLAS has of its own."""
    share = -(-min(len(queries), _GROUP_QUERIES) // num_threads)
    candidates = [Candidates(gallery, queries[i : i + share], top) for i in range(0, len(queries), share)]
    group_size = num_threads * share
    block_rows = min(max(_BLOCK_SCORES // group_size, _SHORTEST_BLOCK), _LONGEST_BLOCK)
    buffer = np.empty(group_size * block_rows, np.float32)
    for start, block in gallery.blocks(block_rows):
        for begin in range(0, len(queries), group_size):
            group = queries[begin : begin + group_size]
            scores = buffer[: len(group) * len(block.is_live)].reshape(len(group), -1)  # (Q, n)
            np.matmul(group, block.embeddings.T, out=scores)
            _checked(scores, block)
            shares = [scores[i : i + share] for i in range(0, len(group), share)]
            first = begin // share
            list(pool.map(lambda taker, part: taker.offer(start, part), candidates[first:], shares))  # noqa: B023
    return [answer for answers in pool.map(Candidates.answers, candidates) for answer in answers]


def best_rows(rows: Ints, scores: Floats, top: int, path_of: Callable[[int], str]) -> Found:
    """Return the ``top`` rows of highest score, in order of falling score, then path.

    Args:
        rows: (N,) numbers of rows, at least one.
        scores: (N,) of these rows.
        top: at most so many.
        path_of: the path of a row.
    """
    top = min(top, len(rows))
    least = np.partition(scores, len(scores) - top)[len(scores) - top]
    places: list[int] = np.flatnonzero(scores >= least).tolist()
    best = sorted(places, key=lambda place: (-scores[place], path_of(int(rows[place]))))[:top]
    return Found(rows[best], scores[best])


def dot_rows(rows: Floats, query: Floats, out: Floats) -> None:
    """Write the dot product of each row (N, E) with ``query`` (E,) to ``out`` (N,)."""
    if hasattr(np, "vecdot"):  # NumPy 2: one BLAS call a row, faster than its matrix-vector product
        np.vecdot(rows, query, out=out)
    else:
        np.einsum("ne,e->n", rows, query, out=out)


def _checked(scores: Floats, block: Part) -> Floats:
    """Give rows that do not count a score of -inf, in place, and refuse a row that is not finite.

    Raises:
        DataError: an embedding of a live row is not finite.
    """
    if not block.is_live.all():
        scores[:, ~block.is_live] = -np.inf
        finite = np.isfinite(scores[0, block.is_live]).all()
    else:
        finite = np.isfinite(scores[0].sum(dtype=np.float64))
    if not finite:  # such a row spoils the score of each query, so the first shows it
        raise DataError(
            "the index is damaged: it holds embeddings that are no numbers",
            hint="`vop info FILE --verify` names them; make the index anew with `vop encode --overwrite`",
        )
    return scores
