"""Hits: the videos of the best rows of an index, each with the range that matches best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Engine, Floats, Found, dot_half_rows
from vopcli.search.ranges import REACH_SECONDS, find_ranges

_MORE_ROWS: Final = 1000  # to rank if the best ones are of too few videos


@dataclass(frozen=True)
class Hit:
    """A video that matches a query, or a moment of one; times in seconds.

    Attributes:
        rank: position among the hits, from 1.
        score: cosine of query and video; in an index with windows the mean cosine of the best match (see
            `Index`); with a pooling other than the mean, a mean of cosines of query and frames; with QB-Norm,
            a corrected cosine; of a moment, the mean cosine of query and frames in its range.
        file: absolute path of the video when it was encoded.
        path: path of the video, relative to the folder that was encoded.
        start: where the range that matches best begins.
        end: where it ends; both are those of the video if its frames match equally.
        best: time of the frame in that range most similar to the query.
        duration_seconds: duration of the video.
        row: row in the index of the video, or of its window that matches best.
    """

    rank: int
    score: float
    file: Path
    path: str
    start: float
    end: float
    best: float
    duration_seconds: float
    row: int = -1


FIELDS: Final = tuple(item.name for item in fields(Hit)[:-2])  # of outputs


def find_hits(
    index: VideoIndex,
    engine: Engine,
    query: Floats,
    found: Found,
    *,
    top: int,
    min_score: float | None,
    num_moments: int,
) -> list[Hit]:
    """Return the best videos with their best ranges, or the best moments of the best videos.

    Args:
        index: the videos.
        engine: ranks more rows if ``found`` has too few videos: the windows of a long video may fill it.
        query: (E,) L2-normalised.
        found: the ``top`` best rows.
        top: maximum number of hits.
        min_score: leave out hits that score less; None: none.
        num_moments: maximum number of moments per video; 0 for videos.

    Raises:
        DataError: the index is damaged.
    """
    best, asked, wanted = _best_of_videos(index, found), top, min(top, index.num_names)
    while len(best) < wanted and len(found.rows) == asked:
        asked = max(4 * asked, _MORE_ROWS)
        [found] = engine(query[None], top=asked)
        best = _best_of_videos(index, found)
    if min_score is not None and not num_moments:
        best = [(row, score) for row, score in best if score >= min_score]
    hits = [hit for row, score in best[:top] for hit in _hits_of(index, row, score, query, num_moments)]
    if num_moments:
        hits = [hit for hit in hits if min_score is None or hit.score >= min_score]
        hits.sort(key=lambda hit: (-hit.score, hit.path, hit.start))
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:top], 1)]


def join_frames(index: VideoIndex, rows: Sequence[int]) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
    """Return the real frames of several rows, in this order.

    Returns:
        (T, E) float16 embeddings and (T,) times in seconds.

    Raises:
        DataError: the index is damaged.
    """
    frames, seconds = [], []
    for part, times, num_real in index.frames_of_rows(rows):
        frames.append(part[:num_real])
        seconds.append(times[:num_real])
    return np.concatenate(frames), np.concatenate(seconds)


def _best_of_videos(index: VideoIndex, found: Found) -> list[tuple[int, float]]:
    """Return the best row of each video, with its score."""
    best: dict[int, tuple[int, float]] = {}
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        best.setdefault(index.name_hash_of(row), (row, score))
    return list(best.values())


def _hits_of(index: VideoIndex, row: int, score: float, query: Floats, num_moments: int) -> list[Hit]:
    """Return the hit of a video with its best range, or a hit for each of its best moments; without ranks."""
    video = index.video(row)
    begin, end = 0.0, video.duration_seconds
    if num_moments or not video.is_part:
        windows = index.windows_of(row)
    else:
        low, high = video.window.start_seconds - REACH_SECONDS, video.window.end_seconds + REACH_SECONDS
        windows = index.windows_of(row, (low, high))
        begin, end = index.span_of(windows[0])[0], index.span_of(windows[-1])[1]
    frames, seconds = join_frames(index, windows)
    cosines = dot_half_rows(frames, query[None])[0]
    ranges = find_ranges(cosines, seconds, (begin, end), most=max(num_moments, 1))
    file = Path(video.file)
    return [
        Hit(
            0,
            part.score if num_moments else score,
            file,
            video.path,
            part.start,
            part.end,
            part.best,
            video.duration_seconds,
            row,
        )
        for part in ranges
    ]


def format_range(hit: Hit) -> str:
    """Write a range like 00:12.4-00:16.4."""
    return f"{format_time(hit.start)}-{format_time(hit.end)}"


def format_time(seconds: float) -> str:
    """Write 12.4 seconds as 00:12.4, and 3612.4 as 1:00:12.4."""
    tenths = round(max(seconds, 0.0) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{minutes:02}:{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{rest}" if hours else rest
