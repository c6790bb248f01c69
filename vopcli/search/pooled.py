"""Exact search by the stored frames of each video, by another rule than the index's mean.

Every frame is compared with the query, so it costs as many products as there are frames, and the whole of the
frame embeddings is read.

Axes: Q queries, N videos of a block, T frames of a block, F frames of a video, E joint width.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vopcli.config.choices import Pooling
from vopcli.index.reader import FrameBlock, VideoIndex
from vopcli.resources import usable_cores
from vopcli.search.engine import Floats, Found, best_rows, check_finite, dot_rows
from vopcli.search.pooling import pool_scores


def search_pooled(index: VideoIndex, queries: Floats, pooling: Pooling, *, top: int) -> list[Found]:
    """Find for each query the ``top`` videos of highest score; of equal ones those whose path comes first.

    Args:
        index: the videos; their frames are stored as float16.
        queries: (Q, E) L2-normalised.
        pooling: any rule but ``mean``.
        top: at most so many videos a query.

    Raises:
        DataError: a row lies outside its frames, or a frame of a live row is not finite.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = list(
            pool.map(lambda block: (block.rows, _score(block, queries, pooling)), index.frame_blocks())
        )
    rows = np.concatenate([part for part, _ in found])
    scores = np.concatenate([part for _, part in found], axis=1)  # (Q, videos)
    check_finite(scores, str(index.path))
    return [best_rows(rows, row, top, index.path_of) for row in scores]


def _score(block: FrameBlock, queries: Floats, pooling: Pooling) -> Floats:
    """Return the scores (Q, N) of a block's videos, each by itself: the same to the bit wherever it lies."""
    frames = block.frames.astype(np.float32)  # (T, E)
    cosines = np.empty((len(queries), len(frames)), np.float32)
    for query, row in zip(queries, cosines, strict=True):
        dot_rows(frames, query, row)
    scores = np.empty((len(queries), len(block.rows)), np.float32)
    for count in np.unique(block.counts).tolist():  # one, but for an index with fps:N
        of_count = np.flatnonzero(block.counts == count)
        places = block.firsts[of_count, None] + np.arange(count)  # (n, F)
        scores[:, of_count] = pool_scores(cosines[:, places], pooling)
    return scores
