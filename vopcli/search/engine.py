"""The protocol of search engines, which rank the rows of an index, and the steps that they share.

`search.Index` encodes a query, lets an engine rank the rows, and looks up the file and the best frame of each
row. Exact, pooled and QB-Norm search are engines; one for a vector database needs this signature only.

Axes: Q queries, N rows, C candidate rows, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
PathOf = Callable[[int], str]

_ROWS_IN_CACHE: Final = 512  # of 512 numbers in float32: 1 MiB
_MOVED_BITS: Final = np.uint32(0x8FFFE000).astype(np.int32)  # sign, exponent and fraction of float16
_BIAS: Final = np.float32(2.0**112)
_TOO_LARGE: Final = 2.0**16


@dataclass(frozen=True)
class Found:
    """The best rows of one query, best first: row numbers counted through all parts, and scores."""

    rows: Ints
    scores: Floats


class Engine(Protocol):
    """Rank the rows of an index for one or more queries."""

    def __call__(self, queries: Floats, *, top: int) -> list[Found]:
        """Return at most ``top`` rows per query, in order of falling score, then path.

        The first k rows of a longer answer are the answer for k, and no score depends on the other queries.

        Args:
            queries: (Q, E) L2-normalised.
            top: maximum number of rows per query, at least 1.

        Raises:
            DataError: an embedding of the index is damaged.
        """
        ...


def best_rows(rows: Ints, scores: Floats, top: int, path_of: PathOf) -> Found:
    """Return the ``top`` rows of highest score, in order of falling score, then path.

    Args:
        rows: (C,) row numbers.
        scores: (C,) of these rows.
        top: maximum number of rows.
        path_of: the path of a row, called only for rows of equal score.
    """
    order: list[int] = []
    for _, tied in groupby(np.argsort(-scores, kind="stable").tolist(), key=scores.tolist().__getitem__):
        if len(order) >= top:
            break
        places = list(tied)
        order += places if len(places) == 1 else sorted(places, key=lambda place: path_of(int(rows[place])))
    return Found(rows[order[:top]], scores[order[:top]])


def dot_rows(rows: Floats, query: Floats, out: Floats) -> None:
    """Write the dot product of each row (N, E) with ``query`` (E,) to ``out`` (N,)."""
    if hasattr(np, "vecdot"):  # NumPy 2: one BLAS call a row, faster than its matrix-vector product
        np.vecdot(rows, query, out=out)
    else:
        np.einsum("ne,e->n", rows, query, out=out)


def dot_half_rows(rows: NDArray[np.float16], queries: Floats) -> Floats:
    """Return the dot product of each query (Q, E) with each row (N, E) float16: (Q, N) float32.

    The bits of a product depend on its row and query alone.
    """
    products = np.empty((len(queries), len(rows)), np.float32)
    for begin in range(0, len(rows), _ROWS_IN_CACHE):
        wide = _widen(rows[begin : begin + _ROWS_IN_CACHE])
        for query, out in zip(queries, products, strict=True):
            dot_rows(wide, query, out[begin : begin + len(wide)])
    return products


def _widen(rows: NDArray[np.float16]) -> Floats:
    """Convert float16 to float32, four times as fast as NumPy, which calls a function for each number.

    Sign, exponent and fraction move to their places in float32, 13 bits higher; the bias of the exponent
    differs by 127 - 15 = 112. Example: 0x3C00 (1.0, exponent 15) becomes 0x07800000 (exponent 15, 2**-112),
    and times 2**112 1.0 again. Numbers with the highest exponent, infinite or NaN, become at least 2**16.
    """
    bits = rows.view(np.int16).astype(np.int32)  # the sign bit fills the upper half
    bits <<= 13
    bits &= _MOVED_BITS
    wide = bits.view(np.float32)
    wide *= _BIAS
    is_finite = wide.min(initial=0) > -_TOO_LARGE and wide.max(initial=0) < _TOO_LARGE
    return wide if is_finite else rows.astype(np.float32)


def check_finite(scores: Floats, name: str) -> None:
    """Refuse scores of an index that is damaged, such as by a failed disk.

    Raises:
        DataError: a score is NaN or infinite, so an embedding is.
    """
    if not np.isfinite(scores).all():
        raise DataError(
            f"{name} is damaged: an embedding is NaN or infinite",
            hint="`vop info FILE --verify` lists the videos, `vop encode --overwrite` rebuilds the index",
        )
