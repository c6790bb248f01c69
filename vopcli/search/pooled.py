"""Exact search with a pooling rule other than the mean: each query is compared with every stored frame.

A search reads all frame embeddings of the index, one product per frame and query.

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
    """Find the ``top`` videos of highest pooled score for each query, ordered by falling score, then path.

    Args:
        index: the videos.
        queries: (Q, E) L2-normalised.
        pooling: any rule except ``mean``.
        top: maximum number of videos per query.

    Raises:
        DataError: the index is damaged: a row lies outside its frames, or a frame is not finite.
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
    """Return the scores (Q, N) of a block's videos; the bits of a score do not depend on the block."""
    frames = block.frames.astype(np.float32)  # (T, E)
    cosines = np.empty((len(queries), len(frames)), np.float32)
    for query, row in zip(queries, cosines, strict=True):
        dot_rows(frames, query, row)
    scores = np.empty((len(queries), len(block.rows)), np.float32)
    for count in np.unique(block.counts).tolist():  # one value, except with fps:N sampling
        of_count = np.flatnonzero(block.counts == count)
        places = block.firsts[of_count, None] + np.arange(count)  # (n, F)
        scores[:, of_count] = pool_scores(cosines[:, places], pooling)
    return scores
