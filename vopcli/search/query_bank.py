"""The query bank of QB-Norm as stored in an index, and the search with it.

Axes: B captions of the bank, N videos, Q queries, E joint width.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Floats, Found, best_rows, check_finite, dot_rows
from vopcli.search.qb_norm import QueryBank
from vopcli.search.stores import EngineIndex

BANK_PARTS: Final = ("captions", "column", "activated", "settings")
BANK_TOP: Final = 1
_HINT: Final = "run `vop encode` again with --querybank"


@dataclass(frozen=True, eq=False)
class StoredBank:
    """The query bank of an index.

    Attributes:
        captions: (B, E) float32, L2-normalised; stored to recompute the rest when videos change.
        bank: statistics over all rows of the index.
        is_stale: an interrupted run has added or removed videos since.
    """

    captions: Floats
    bank: QueryBank
    is_stale: bool


def read_bank(index: VideoIndex) -> StoredBank | None:
    """Return the query bank of an index; None if it has none.

    Raises:
        DataError: the bank is damaged.
    """
    held = index.bank_tensors
    if not held:
        return None
    try:
        captions, column, activated, settings = (held[name] for name in BANK_PARTS)
        beta, top, *state = settings.tolist()
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{index.path} is damaged: its query bank is incomplete", hint=_HINT) from error
    fits = captions.shape[1:] == (index.meta.embed_dim,) and column.shape == activated.shape
    if not (
        fits and column.ndim == 1 and np.isfinite(column).all() and 0 < beta < np.inf and top == BANK_TOP
    ):
        raise DataError(f"{index.path} is damaged: the parts of its query bank do not match", hint=_HINT)
    bank = QueryBank(beta, int(top), len(captions), column, activated > 0)
    checksums = _checksums(index)
    return StoredBank(captions, bank, len(column) != len(checksums) or state != state_of(checksums))


def state_of(checksums: Sequence[int] | NDArray[np.uint64]) -> list[float]:
    """Return the number of checksums and the halves of their CRC-32: integers that float32 can hold."""
    value = zlib.crc32(np.array(checksums, "<u8").tobytes())
    return [float(len(checksums) % (1 << 24)), float(value >> 16), float(value & 0xFFFF)]


def _checksums(index: VideoIndex) -> NDArray[np.uint64]:
    """Return the embedding checksum of every video and window of an index."""
    if isinstance(index, EngineIndex):
        return index.embedding_checksums()
    parts = [
        segment.map("rows")["embedding_checksum"][done]
        for segment, done in zip(index.segments, index.done, strict=True)
    ]
    return np.concatenate([np.empty(0, np.uint64), *parts])


def current_bank(index: VideoIndex) -> QueryBank:
    """Return the query bank of an index, which must match its videos.

    Raises:
        DataError: the bank is missing, outdated or damaged.
    """
    stored = read_bank(index)
    if stored is None:
        raise DataError(
            f"{index.path} has no query bank",
            hint="add one: `vop encode SRC INDEX.h5 --querybank captions.txt`",
        )
    if stored.is_stale:
        raise DataError(
            f"the query bank of {index.path} is outdated: videos were added or removed",
            hint="run `vop encode` again, which recomputes the bank",
        )
    return stored.bank


def search_normalised(
    index: VideoIndex,
    bank: QueryBank,
    queries: Floats,
    *,
    top: int,
    chosen: Sequence[NDArray[np.bool_]] | None = None,
) -> list[Found]:
    """Rank the videos by their scores after QB-Norm, ordered by falling score, then path.

    Args:
        index: the videos.
        bank: the query bank of these videos.
        queries: (Q, E) L2-normalised.
        top: maximum number of videos per query.
        chosen: a mask of the rows of each segment; the others affect the normalisation only. None: all.

    Raises:
        DataError: an embedding of the index is not finite.
    """
    found = []
    rows = np.array(list(index.rows()), np.int64)
    parts = zip(index.done if chosen is None else chosen, index.done, strict=True)
    is_chosen = np.concatenate([mask[done] for mask, done in parts])
    for query in queries:
        cosines = np.empty(len(rows), np.float32)
        begin = 0
        for part, done in zip(index.embeddings, index.done, strict=True):
            live = part if done.all() else part[done]
            dot_rows(live, query, cosines[begin : begin + len(live)])
            begin += len(live)
        check_finite(cosines, str(index.path))
        scores = bank.apply(cosines).astype(np.float32)
        found.append(best_rows(rows[is_chosen], scores[is_chosen], top, index.path_of))
    return found


def describe_bank(index: VideoIndex) -> dict[str, Any] | None:
    """Describe the query bank of an index for ``vop info``; None if it has none.

    Raises:
        DataError: it is damaged.
    """
    stored = read_bank(index)
    if stored is None:
        return None
    return {
        "captions": len(stored.captions),
        "beta": stored.bank.beta,
        "activated_videos": int(stored.bank.is_activated.sum()),
        "is_stale": stored.is_stale,
    }
