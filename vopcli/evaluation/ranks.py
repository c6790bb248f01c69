"""Count, for each query of both directions, the candidates that score above the target or tie with it.

Counting needs no sort and reads each score once, so the matrix is processed in blocks and never held as a
whole.

Axes: Q captions, G videos, N queries of a direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vopcli.search.similarity import AnyFloats, CosineRows, GivenRows, Ints, iter_blocks


@dataclass(frozen=True, eq=False)
class Counts:
    """Candidates of each query that score higher than its target, or the same.

    Attributes:
        queries: (N,) indices of captions (t2v) or videos (v2t), ascending.
        above: (N,) candidates that score higher than the target.
        tied: (N,) candidates that score the same, including the target.
        tied_before: (N,) those of them that precede the target in the gallery.
        gallery_size: number of candidates of each query.
    """

    queries: Ints
    above: Ints
    tied: Ints
    tied_before: Ints
    gallery_size: int

    @classmethod
    def empty(cls, queries: Ints, gallery_size: int) -> Counts:
        """Return counts of zero."""
        above, tied, tied_before = np.zeros((3, len(queries)), np.int64)
        return cls(queries, above, tied, tied_before, gallery_size)


class BestCaptions:
    """Maximum over the captions of each video of their scores (G,), for captions that arrive in blocks.

    Only incomplete videos are held: at most one if captions are sorted by video.
    """

    def __init__(self, owner: Ints, num_videos: int) -> None:
        self._left = np.bincount(owner, minlength=num_videos)
        self._is_single = bool(self._left.max() == 1)
        self._open: dict[int, AnyFloats] = {}

    def add(self, owners: Ints, scores: AnyFloats) -> tuple[Ints, AnyFloats]:
        """Add a block of captions, and return the videos that it completes.

        Args:
            owners: (n,) the video of each caption.
            scores: (n, G).

        Returns:
            (m,) videos and (m, G) scores of their best captions.
        """
        if self._is_single:
            return owners, scores
        if (np.diff(owners) < 0).any():
            order = np.argsort(owners, kind="stable")
            owners, scores = owners[order], scores[order]
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        videos = owners[starts]
        best = np.maximum.reduceat(scores, starts, axis=0)  # (videos in the block, G)
        self._left[videos] -= np.diff(starts, append=len(owners))
        for number, video in enumerate(videos.tolist()):
            if video in self._open:
                np.maximum(best[number], self._open.pop(video), out=best[number])
            if self._left[video]:
                self._open[video] = best[number].copy()
        is_done = self._left[videos] == 0
        return videos[is_done], best[is_done]


def count_ranks(
    similarity: CosineRows | GivenRows, owner: Ints, *, block_rows: int | None = None
) -> tuple[Counts, Counts]:
    """Count for t2v and v2t in one pass over the scores.

    Args:
        similarity: (Q, G).
        owner: (Q,) the video of each caption, in ``[0, G)``.
        block_rows: captions to read at a time.

    Returns:
        t2v: each caption is a query, the videos are its candidates. v2t: each video that has captions is a
        query, its candidates are all such videos, each with the highest score of its captions.
    """
    num_captions, num_videos = similarity.shape
    own = similarity.own(owner)
    best_own = np.full(num_videos, -np.inf, own.dtype)
    np.maximum.at(best_own, owner, own)
    videos = np.unique(owner)
    t2v = Counts.empty(np.arange(num_captions), num_videos)
    v2t = Counts.empty(videos, len(videos))
    best_captions = BestCaptions(owner, num_videos)
    for rows in iter_blocks(similarity.shape, block_rows):
        scores = similarity[rows]
        _count_rows(t2v, rows, scores, own[rows], owner[rows])
        candidates, best = best_captions.add(owner[rows], scores)
        if len(videos) < num_videos:
            best = best[:, videos]
        _count_columns(v2t, candidates, best, best_own[videos])
    return t2v, v2t


def top_columns(similarity: CosineRows | GivenRows, count: int) -> Ints:
    """Return the columns (Q, count) of the highest scores of each row, best first; earlier ones among equals.

    ``count`` is at most G.
    """
    found = np.empty((similarity.shape[0], count), np.int64)
    for rows in iter_blocks(similarity.shape, None):
        scores = np.array(similarity[rows])
        for rank in range(count):
            found[rows, rank] = best = scores.argmax(axis=1)
            scores[np.arange(len(scores)), best] = -np.inf
    return found


def _count_rows(counts: Counts, rows: slice, scores: AnyFloats, right: AnyFloats, targets: Ints) -> None:
    """Count along the rows: each is a query, with the score ``right`` (n,) in the column ``targets`` (n,)."""
    counts.above[rows] = _sum(scores > right[:, None], axis=1)
    row, column = np.nonzero(scores == right[:, None])
    counts.tied[rows] = np.bincount(row, minlength=len(scores))
    counts.tied_before[rows] = np.bincount(row[column < targets[row]], minlength=len(scores))


def _count_columns(counts: Counts, candidates: Ints, scores: AnyFloats, right: AnyFloats) -> None:
    """Add up down the columns: each is a query, with the score ``right`` (m,), and each row a candidate."""
    counts.above[:] += _sum(scores > right, axis=0)
    row, column = np.nonzero(scores == right)
    counts.tied[:] += np.bincount(column, minlength=len(right))
    is_before = candidates[row] < counts.queries[column]
    counts.tied_before[:] += np.bincount(column[is_before], minlength=len(right))


def _sum(flags: NDArray[np.bool_], *, axis: int) -> NDArray[np.int32]:
    return flags.view(np.uint8).sum(axis=axis, dtype=np.int32)  # six times as fast as summing booleans
