"""Confidence that a hit matches its text, by comparison with texts whose match is left out.

Equal cosines do not mean the same for all videos and texts. With s the cosine of a text and its hit:

    closeness     (s - m) / d, mean and deviation of the cosines of the video with the 5 % of the captions of
                  the query bank closest to it: some videos are near to all texts
    prominence    (s - m) / d, mean and deviation of the cosines of the text with the videos: a text that the
                  model does not understand may be near to all videos

The captions of the bank are searched for in the same index, each without the video that matches it best. The
confidence of a hit is the fraction of their hits whose lesser value of the two, as a fraction of the hits
below it, is smaller. So one threshold suits indexes of all sizes: 0.95 answers about 5 % of the texts without
a match.

Axes: B captions of the bank, C of them that are searched for, G videos or rows, E joint width.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.atomic import atomic_path
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress
from vopcli.search.engine import Engine, Floats
from vopcli.search.hits import Hit
from vopcli.search.query_bank import read_bank

Doubles = NDArray[np.float64]

FEWEST_CAPTIONS: Final = 500  # with 200, the closeness is a worse guide than the cosine
_CLOSEST: Final = 0.05
LEAST_DEVIATION: Final = 1e-9
_SEARCHED: Final = 300  # captions that are searched for
_AT_ONCE: Final = 20
_SAMPLED: Final = 4096  # rows that give mean and deviation of a text
_ROWS: Final = 64  # best rows of a caption; one of another video is nearly always among them
_COLUMNS: Final = 256  # at a time, to bound memory


def closest_captions(cosines: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Return mean and deviation (G,) of the 5 % of captions (B, G) closest to each video, at least two."""
    count = min(max(round(_CLOSEST * len(cosines)), 2), len(cosines))
    means, deviations = np.empty((2, cosines.shape[1]))
    for begin in range(0, cosines.shape[1], _COLUMNS):
        part = slice(begin, begin + _COLUMNS)
        ordered = np.partition(cosines[:, part].astype(np.float64), len(cosines) - count, axis=0)
        closest = ordered[len(cosines) - count :]
        means[part], deviations[part] = closest.mean(axis=0), closest.std(axis=0)
    return means, np.maximum(deviations, LEAST_DEVIATION)


@dataclass(frozen=True, eq=False)
class WithoutMatch:
    """Hits of captions without the video that matches best.

    Attributes:
        closeness: (C,) of the hits.
        prominence: (C,) of the hits.
    """

    closeness: Doubles
    prominence: Doubles

    def confidence(self, closeness: Doubles, prominence: Doubles) -> Doubles:
        """Return the confidence (n,) of hits of a closeness (n,) and prominence (n,)."""
        return _fraction_below(self._lesser(closeness, prominence), self._own)

    @functools.cached_property
    def _own(self) -> Doubles:
        return self._lesser(self.closeness, self.prominence)

    def _lesser(self, closeness: Doubles, prominence: Doubles) -> Doubles:
        close = _fraction_below(closeness, self.closeness)
        return np.minimum(close, _fraction_below(prominence, self.prominence))


def _fraction_below(values: Doubles, others: Doubles) -> Doubles:
    return np.searchsorted(np.sort(others), values, "left") / len(others)


class Confidence:
    """Judges the hits of one index and engine."""

    def __init__(self, index: VideoIndex, engine: Engine, name: str, cache: Path, progress: Progress) -> None:
        """Read the captions; search for some of them, unless the cache has the outcome.

        Args:
            index: the rows, with a query bank.
            engine: ranks them.
            name: of the engine's rule, by which the cache tells engines apart.
            cache: folder of derived data.
            progress: shows the search for the captions.

        Raises:
            DataError: the index has no query bank, or one of few captions.
        """
        bank = read_bank(index)
        if bank is None or len(bank.captions) < FEWEST_CAPTIONS:
            raise DataError(
                f"{index.path} has {len(bank.captions) if bank else 0} captions to judge hits by",
                hint=f"add at least {FEWEST_CAPTIONS}: `vop encode SRC INDEX.h5 --querybank captions.txt`",
            )
        self._index, self._captions = index, bank.captions
        self._sample = _sample_rows(index)
        key = f"{index.path.absolute()} {index.state} {name}"
        file = cache / "confidence" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"
        held = _load(file)
        if held is None:
            held = self._search_others(engine, progress)
            with contextlib.suppress(OSError):  # without a cache, each process searches for the captions
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(file) as temporary, temporary.open("wb") as stream:
                    np.save(stream, held)
        self._without_match = WithoutMatch(*held)

    def keep(self, hits: Sequence[Hit], query: Floats, least: float) -> list[Hit]:
        """Return the hits of a query (E,) of at least a confidence, with it and their new ranks.

        Raises:
            DataError: the index is damaged.
        """
        if not hits:
            return []
        queries = query[None].repeat(len(hits), axis=0)
        values = self._without_match.confidence(*self._judge(queries, [hit.row for hit in hits])).tolist()
        kept = [
            replace(hit, confidence=value) for hit, value in zip(hits, values, strict=True) if value >= least
        ]
        return [replace(hit, rank=rank) for rank, hit in enumerate(kept, 1)]

    def _judge(self, queries: Floats, rows: Sequence[int]) -> Doubles:
        """Return closeness and prominence (2, G) of the rows (G,) as hits of the queries (G, E)."""
        embeddings = np.stack([self._index.embedding_of(row) for row in rows])
        cosines = (queries * embeddings).sum(axis=1, dtype=np.float64)
        mean, deviation = closest_captions(self._captions @ embeddings.T)
        others = (queries @ self._sample.T).astype(np.float64)
        spread = np.maximum(others.std(axis=1), LEAST_DEVIATION)
        return np.stack([(cosines - mean) / deviation, (cosines - others.mean(axis=1)) / spread])

    def _search_others(self, engine: Engine, progress: Progress) -> Doubles:
        places = np.linspace(0, len(self._captions) - 1, min(len(self._captions), _SEARCHED))
        captions = self._captions[places.round().astype(int)]
        others: list[int] = []
        with progress.task("search for captions", total=len(captions), unit="captions") as task:
            for begin in range(0, len(captions), _AT_ONCE):
                for found in engine(captions[begin : begin + _AT_ONCE], top=_ROWS):
                    names = [self._index.name_hash_of(row) for row in found.rows.tolist()]
                    others.append(int(found.rows[_second(names)]))
                    task.advance()
        return self._judge(captions, others)


def _second(names: list[int]) -> int:
    """Return the place of the first name that differs from the first of all, else the last place."""
    return next((place for place, name in enumerate(names) if name != names[0]), len(names) - 1)


def _sample_rows(index: VideoIndex) -> Floats:
    """Return the embeddings of rows evenly spread over an index, (G, E)."""
    step = max(sum(map(np.count_nonzero, index.done)) // _SAMPLED, 1)
    chosen = [np.flatnonzero(done)[::step] for done in index.done]
    return np.concatenate([part[rows] for part, rows in zip(index.embeddings, chosen, strict=True)])


def _load(file: Path) -> Doubles | None:
    """Read the values of hits without a match (2, C); None if they are missing or damaged."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        held = np.load(file, allow_pickle=False)
        if held.ndim == 2 and len(held) == 2 and held.size and np.isfinite(held).all():
            return np.asarray(held, np.float64)
    return None
