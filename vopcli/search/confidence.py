"""Confidence that a hit matches its text, by comparison with texts whose match is left out.

Equal cosines do not mean the same for all texts and videos. The S-norm of speaker verification compares the
cosine s of a text and its hit with others of both:

    ((s - m_q) / d_q + (s - m_v) / d_v) / 2

    m_q, d_q    mean and deviation of the cosines of the text with the videos
    m_v, d_v    of those of the video with the 5 % of the captions of the query bank closest to it

Captions of the bank are judged in the same way with a part of the index, each without the video of highest
cosine. The confidence of a hit is the fraction of them whose highest S-norm is lower: 0.95 answers about 5 %
of the texts without a match, fewer where several videos match a caption, since the second best matches too.
It is 0 for a text whose m_q is above that of each caption: a text that the model does not understand may be
near to all videos.

Axes: B captions of the bank, C of them that are judged, G videos or rows, E joint width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Floats
from vopcli.search.hits import Hit
from vopcli.search.query_bank import read_bank

Doubles = NDArray[np.float64]

FEWEST_CAPTIONS: Final = 500  # with 200, the S-norm is a worse guide than the cosine
_CLOSEST: Final = 0.05
LEAST_DEVIATION: Final = 1e-9
_COMPARED: Final = 2000  # captions that a video is compared with
_JUDGED: Final = 300  # of these, without the video of highest cosine
_SAMPLED: Final = 1024  # rows
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


def s_norms_of(
    cosines: NDArray[Any],
    others: NDArray[Any],
    mean: Doubles,
    deviation: Doubles,
    *,
    is_in: NDArray[np.bool_] | bool = True,
) -> Doubles:
    """Return the S-norms (..., G) of texts and videos.

    Args:
        cosines: (..., G) of them.
        others: (..., K) cosines of each text with videos.
        mean: (G,) of `closest_captions`.
        deviation: (G,) of the same.
        is_in: (..., K) which of ``others`` count.
    """
    means, spread = (
        measure(others, axis=-1, where=is_in, keepdims=True, dtype=np.float64)
        for measure in (np.mean, np.std)
    )
    by_text = (cosines - means) / np.maximum(spread, LEAST_DEVIATION)
    return np.asarray((by_text + (cosines - mean) / deviation) / 2)


@dataclass(frozen=True, eq=False)
class WithoutMatch:
    """Captions of the bank without the video that matches best.

    Attributes:
        s_norms: (C,) highest S-norm of each.
        highest_mean: greatest mean cosine of a caption of the bank with the videos.
    """

    s_norms: Doubles
    highest_mean: float

    @functools.cached_property
    def _ordered(self) -> Doubles:
        return np.sort(self.s_norms)

    def confidence(self, s_norms: Doubles, means: Doubles) -> Doubles:
        """Return the confidence (n,) of hits of texts whose mean cosines with the videos are given, (n,)."""
        below = np.searchsorted(self._ordered, s_norms, "left") / len(self.s_norms)
        return np.where(means > self.highest_mean, 0.0, below)


def has_captions(index: VideoIndex) -> bool:
    """Whether the query bank of an index has enough captions for confidences."""
    return len(index.bank_tensors.get("captions", ())) >= FEWEST_CAPTIONS


class Confidence:
    """Judges the hits of one index."""

    def __init__(self, index: VideoIndex) -> None:
        """Judge up to 300 captions of the query bank with about 1,024 rows of the index, evenly spread.

        Raises:
            DataError: the index is damaged, has no videos, or has no query bank of enough captions.
        """
        bank = read_bank(index)
        if bank is None or len(bank.captions) < FEWEST_CAPTIONS:
            raise DataError(
                f"{index.path} has {len(bank.captions) if bank else 0} captions in its query bank, "
                "too few for a confidence",
                hint=f"add at least {FEWEST_CAPTIONS}: `vop encode SRC INDEX.h5 --querybank captions.txt`",
            )
        if index.is_empty:
            raise DataError(f"{index.path} has no videos", hint="add some with `vop encode`")
        self._index, self._captions = index, _spread(bank.captions, _COMPARED)
        rows, self._sample = sample_rows(index, _SAMPLED)
        cosines = _spread(self._captions, _JUDGED) @ self._sample.T
        s_norms = s_norms_of(cosines, cosines, *closest_captions(self._captions @ self._sample.T))
        hashes = [index.name_hash_of(row) % (1 << 64) for row in rows]  # engines may hold them as signed
        videos = np.array(hashes, np.uint64)
        others = videos != videos[cosines.argmax(axis=1)][:, None]
        others |= ~others.any(axis=1, keepdims=True)  # of a single video
        means = self._captions @ self._sample.mean(axis=0)
        highest = s_norms.max(axis=1, where=others, initial=-np.inf)
        self._without_match = WithoutMatch(highest, float(means.max()))

    def keep(self, hits: Sequence[Hit], query: Floats, least: float) -> list[Hit]:
        """Return the hits of a query (E,) whose confidence is at least ``least``, with it and new ranks.

        Raises:
            DataError: the index is damaged.
        """
        if not hits:
            return []
        embeddings = np.stack([self._index.embedding_of(hit.row) for hit in hits])
        others = query @ self._sample.T
        s_norms = s_norms_of(query @ embeddings.T, others, *closest_captions(self._captions @ embeddings.T))
        values = self._without_match.confidence(s_norms, others.mean(dtype=np.float64)).tolist()
        kept = [
            replace(hit, confidence=value) for hit, value in zip(hits, values, strict=True) if value >= least
        ]
        return [replace(hit, rank=rank) for rank, hit in enumerate(kept, 1)]


def _spread(rows: Floats, count: int) -> Floats:
    """Return ``count`` rows evenly spread over the given ones, or all of them."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).round().astype(int)]


def sample_rows(index: VideoIndex, count: int) -> tuple[list[int], Floats]:
    """Return about ``count`` rows evenly spread over an index, or all, and their embeddings (G, E)."""
    counts = list(map(np.count_nonzero, index.done))
    step = max(sum(counts) // count, 1)
    rows = np.split(np.array(list(index.rows()), np.int64), np.cumsum(counts)[:-1])
    chosen = [np.flatnonzero(done)[::step] for done in index.done]
    embeddings = [part[places] for part, places in zip(index.embeddings, chosen, strict=True)]
    return np.concatenate([own[::step] for own in rows]).tolist(), np.concatenate(embeddings)
