"""Score matrices of captions and videos, read or computed in blocks of rows; NaN and infinity are refused.

Axes: Q captions, G videos, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

AnyFloats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

# Components on this grid have products on 2**-52, so that a float64 holds every partial sum up to 2.
_GRID: Final = 2.0**26
_MAX_NORM: Final = 1.4  # the product of two norms bounds each partial sum, and must stay below 2
_BLOCK_SCORES: Final = 1 << 22
_FEWEST_ROWS: Final = 16
_MOST_ROWS: Final = 4096  # a row has E components in float64 besides its scores
_SHOWN: Final = 5


class Rows(Protocol):
    """A (Q, G) matrix read in blocks of rows: an array, an HDF5 dataset, or computed on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Q, G)."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """Return the rows in the half-open range ``rows`` as an array (n, G)."""
        ...


class NotFiniteError(ValueError):
    """NaN or infinity among embeddings or scores, so that they cannot be ranked.

    Attributes:
        text_indices: (K,) affected captions; for a score matrix, each row with such a score.
        video_indices: (M,) affected videos; for a score matrix, the first such column of each row in
            ``text_indices``.
    """

    def __init__(self, problem: str, *, text_indices: Ints, video_indices: Ints) -> None:
        super().__init__(problem)
        self.text_indices = text_indices
        self.video_indices = video_indices


class CosineRows:
    """Cosines of captions and videos, with the same bits for any block size.

    The order of the sums in a matrix product depends on the position of a row in its block, so equal
    embeddings could get scores that differ in the last bit, and ties would depend on the block size. Here
    each component is first rounded to a multiple of 2**-26. Then every product and partial sum is exact in
    float64, in any order, and the score is that sum rounded to float32. The rounding changes a cosine by
    about 1e-8, less than the error of a float32 product.

    Args:
        text: (Q, E) floating, L2-normalised or shorter.
        video: (G, E) likewise.
        order: (Q,) the caption in each row; default 0, 1, 2, ...
    """

    def __init__(self, text: AnyFloats, video: AnyFloats, *, order: Ints | None = None) -> None:
        self._text = _check_matrix(text, "text")
        self._video = _on_grid(_check_matrix(video, "video"))  # (G, E)
        if self._text.shape[1] != self._video.shape[1]:
            raise ValueError(
                f"text embeddings {text.shape} and video embeddings {video.shape} differ in width"
            )
        self._order = order
        self.shape = (len(self._text), len(self._video))
        self._check()

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        """Return the scores (n, G) of a range of captions."""
        return (self._block(rows) @ self._video.T * _GRID**-2).astype(np.float32)

    def own(self, owner: Ints) -> NDArray[np.float32]:
        """Return the score (Q,) of each row's caption with its target video ``owner`` (Q,)."""
        own = np.empty(self.shape[0], np.float32)
        for rows in iter_blocks(self.shape, None):
            own[rows] = np.einsum("qe,qe->q", self._block(rows), self._video[owner[rows]]) * _GRID**-2
        return own

    def _block(self, rows: slice) -> NDArray[np.float64]:
        return _on_grid(self._text[rows if self._order is None else self._order[rows]])

    def _check(self) -> None:
        text_norms, video_norms = _norms(self._text), _norms(self._video) / _GRID
        bad_text = np.flatnonzero(~np.isfinite(text_norms))
        bad_video = np.flatnonzero(~np.isfinite(video_norms))
        if len(bad_text) or len(bad_video):
            listed = [
                f"{len(bad)} {side} embedding{'s' * (len(bad) > 1)} (row {_some(bad)})"
                for side, bad in (("text", bad_text), ("video", bad_video))
                if len(bad)
            ]
            raise NotFiniteError(
                f"NaN or infinity in {' and '.join(listed)}", text_indices=bad_text, video_indices=bad_video
            )
        longest = max(text_norms.max(), video_norms.max())
        if longest > _MAX_NORM:
            raise ValueError(f"embeddings must be L2-normalised, the longest has norm {longest:.3g}")


class GivenRows:
    """A given score matrix, read a block at a time; scores are compared without rounding."""

    def __init__(self, similarity: Rows) -> None:
        if len(similarity.shape) != 2 or 0 in similarity.shape:
            raise ValueError(f"similarity must be of shape (captions, videos), got {tuple(similarity.shape)}")
        self._similarity = similarity
        self.shape = (similarity.shape[0], similarity.shape[1])

    def __getitem__(self, rows: slice, /) -> AnyFloats:
        """Return the scores (n, G) of a range of captions."""
        scores = np.asarray(self._similarity[rows])
        return scores if scores.dtype.kind == "f" else scores.astype(np.float64)

    def own(self, owner: Ints) -> AnyFloats:
        """Return the score (Q,) of each row's caption with its target video, and check every score.

        Raises:
            NotFiniteError: a score is NaN or infinite.
        """
        own, bad_rows, bad_columns = [], [], []
        for rows in iter_blocks(self.shape, None):
            scores = self[rows]
            own.append(scores[np.arange(len(scores)), owner[rows]])
            is_bad = ~np.isfinite(scores)
            bad = np.flatnonzero(is_bad.any(axis=1))
            bad_rows.append(bad + rows.start)
            bad_columns.append(is_bad[bad].argmax(axis=1))
        texts, videos = np.concatenate(bad_rows), np.concatenate(bad_columns)
        if len(texts):
            places = ", ".join(f"({t}, {v})" for t, v in zip(texts[:_SHOWN], videos[:_SHOWN], strict=True))
            raise NotFiniteError(
                f"NaN or infinity in {len(texts)} rows of the similarity, first at {places}",
                text_indices=texts,
                video_indices=videos,
            )
        return np.concatenate(own)


def iter_blocks(shape: tuple[int, ...], block_rows: int | None) -> Iterator[slice]:
    """Yield half-open ranges of rows that cover a matrix, by default about 4 million scores each."""
    size = block_rows or min(max(_BLOCK_SCORES // shape[1], _FEWEST_ROWS), _MOST_ROWS)
    for start in range(0, shape[0], size):
        yield slice(start, min(start + size, shape[0]))


def _check_matrix(embeddings: AnyFloats, side: str) -> AnyFloats:
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"{side} embeddings must be of shape (rows, width), got {embeddings.shape}")
    return embeddings


def _on_grid(embeddings: AnyFloats) -> NDArray[np.float64]:
    """Return each component in units of the grid, rounded to an integer."""
    steps = embeddings * _GRID if embeddings.dtype == np.float64 else embeddings.astype(np.float64) * _GRID
    return np.rint(steps, out=steps)


def _norms(embeddings: AnyFloats) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("ne,ne->n", embeddings, embeddings, dtype=np.float64))


def _some(indices: Ints) -> str:
    shown = ", ".join(map(str, indices[:_SHOWN].tolist()))
    return shown + (", ..." if len(indices) > _SHOWN else "")
