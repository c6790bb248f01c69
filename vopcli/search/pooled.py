"""Exact search with a pooling rule other than the mean: each query is compared with every stored frame.

A search reads all frame embeddings of the index, one product per frame and query.

Axes: Q queries, N videos of a block, T frames of a block, F frames of a video, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Pooling
from vopcli.index.reader import VideoIndex
from vopcli.resources import usable_cores
from vopcli.search.engine import Floats, Found, best_rows, check_finite, dot_half_rows
from vopcli.search.pooling import pool_scores
from vopcli.search.stores import EngineIndex


@dataclass(frozen=True)
class FrameBlock:
    """Videos of one segment: rows (N,), frames (T, E), and the position of each video's frames.

    Video i has the frames ``firsts[i]`` to ``firsts[i] + counts[i]``.
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.float16]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]


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
    blocks = frame_blocks(index)
    with ThreadPoolExecutor(usable_cores()) as pool:
        # a pool takes all blocks at once: those of a file are memory-mapped, others would fill the memory
        run = map if isinstance(index, EngineIndex) else pool.map
        found = list(run(lambda block: (block.rows, _score(block, queries, pooling)), blocks))
    rows = np.concatenate([part for part, _ in found])
    scores = np.concatenate([part for _, part in found], axis=1)  # (Q, videos)
    check_finite(scores, str(index.path))
    return [best_rows(rows, row, top, index.path_of) for row in scores]


def frame_blocks(index: VideoIndex, num_videos: int = 512) -> Iterator[FrameBlock]:
    """Yield the frames of all videos, in blocks of ``num_videos``.

    Raises:
        DataError: a row is damaged.
    """
    if isinstance(index, EngineIndex):
        rows = np.array(list(index.rows()), np.int64)
        for begin in range(0, len(rows), num_videos):
            part = rows[begin : begin + num_videos]
            held = [frames for frames, *_ in index.frames_of_rows(part.tolist())]
            counts = np.array([len(frames) for frames in held])
            yield FrameBlock(part, np.concatenate(held), np.cumsum(counts) - counts, counts)
        return
    for number, (start, done) in enumerate(zip(index.starts, index.done, strict=False)):
        places = np.flatnonzero(done)
        for begin in range(0, len(places), num_videos):
            chosen = places[begin : begin + num_videos]
            records = index.records[number][chosen]
            firsts, counts = records["first_frame"], records["num_frames"]
            low, high = int(firsts.min()), int((firsts + counts).max())
            if low < 0 or counts.min() < 1 or high > len(index.frames[number]):
                raise index.damaged("a row lies outside its frames")
            yield FrameBlock(chosen + start, index.frames[number][low:high], firsts - low, counts)


def _score(block: FrameBlock, queries: Floats, pooling: Pooling) -> Floats:
    """Return the scores (Q, N) of a block's videos; the bits of a score do not depend on the block."""
    cosines = dot_half_rows(block.frames, queries)  # (Q, T)
    scores = np.empty((len(queries), len(block.rows)), np.float32)
    for count in np.unique(block.counts).tolist():  # one value, except with fps:N sampling
        of_count = np.flatnonzero(block.counts == count)
        places = block.firsts[of_count, None] + np.arange(count)  # (n, F)
        scores[:, of_count] = pool_scores(cosines[:, places], pooling)
    return scores
