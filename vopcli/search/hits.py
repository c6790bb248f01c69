"""Hits: the videos of the best rows of an index, each with the range that matches best."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vopcli.files.s3 import may_exist, named_path
from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Engine, Floats, Found, dot_half_rows
from vopcli.search.ranges import MATCHED_FRAMES, REACH_SECONDS, find_ranges

_MORE_ROWS: Final = 1000  # to rank where the best ones may be of too few videos
_ROUNDING: Final = 1e-6  # of the cosine of two equal embeddings

_Row = tuple[int, float]  # of the index, and its score
_Embedding = NDArray[np.float32] | NDArray[np.float16]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Hit:
    """A video that matches a query, or a moment of one; times in seconds.

    Attributes:
        rank: position among the hits, from 1.
        score: cosine of query and video; in an index with windows the mean cosine of the best match (see
            `Index`); with a pooling other than the mean, a mean of cosines of query and frames; with QB-Norm,
            a corrected cosine; of a moment, the mean cosine of query and frames in its range.
        file: absolute path of the video when it was encoded; on S3 one whose text is ``s3://bucket/key``.
        path: path of the video, relative to the folder that was encoded.
        start: where the range that matches best begins.
        end: where it ends; both are those of the video if its frames match equally.
        best: time of the frame in that range most similar to the query.
        duration_seconds: duration of the video.
        row: row in the index of the video, or of its window that matches best.
        confidence: that the video of the row matches the text, from 0 to 1; None without a query bank.
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
    confidence: float | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the file is gone, or lies in a folder that may not be read; S3 is not asked."""
        return not may_exist(self.file)

    def to_dict(self) -> dict[str, Any]:
        """Return the hit as JSON values; with ``confidence`` if it has one."""
        return {
            **{name: getattr(self, name) for name in FIELDS},
            "file": os.fspath(self.file),
            "missing": self.is_missing,
            **({} if self.confidence is None else {"confidence": self.confidence}),
        }


FIELDS: Final = tuple(item.name for item in fields(Hit)[:7])  # of outputs


@dataclass(frozen=True)
class Wanted:
    """Which of the ranked videos become hits.

    Attributes:
        top: maximum number of hits.
        min_score: leave out hits that score less; None: none.
        num_moments: maximum number of moments per video; 0 for videos.
        dedupe: leave out hits whose embedding has at least this cosine with that of a better hit; None: none.
        matched: number of successive frames in the best match, from which a range grows.
    """

    top: int
    min_score: float | None = None
    num_moments: int = 0
    dedupe: float | None = None
    matched: int = MATCHED_FRAMES


def num_ranked(index: VideoIndex, top: int) -> int:
    """Return how many rows to rank for ``top`` videos: the best ones may be windows of a few long videos."""
    return max(top, _MORE_ROWS) if index.has_windows else top


def find_hits(index: VideoIndex, engine: Engine, query: Floats, found: Found, wanted: Wanted) -> list[Hit]:
    """Return the best videos with their best ranges, or the best moments of the best videos.

    Args:
        index: the videos.
        engine: ranks more rows if those found are too few videos, such as windows of a long one, or
            duplicates; in the worst case it ranks the whole index.
        query: (E,) L2-normalised.
        found: the `num_ranked` best rows.
        wanted: which videos become hits.

    Raises:
        DataError: the index is damaged.
    """
    select, asked = (_moments if wanted.num_moments else _videos), num_ranked(index, wanted.top)
    while True:
        best = _best_of_videos(index, found)
        has_all = len(found.rows) < asked or len(best) >= index.num_names
        if has_all or len(best) >= wanted.top:
            hits = select(index, best, query, wanted)
            if has_all or wanted.dedupe is None or len(hits) >= wanted.top or _is_below(best[-1], wanted):
                return [replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]
        asked = max(4 * asked, _MORE_ROWS)
        [found] = engine(query[None], top=asked)


def _videos(index: VideoIndex, best: Sequence[_Row], query: Floats, wanted: Wanted) -> list[Hit]:
    """Return the hits of the best videos, each with its best range."""
    best = [row for row in best if not _is_below(row, wanted)]
    if wanted.dedupe is not None:
        best = _distinct(((row, index.embedding_of(row[0])) for row in best), wanted.dedupe, wanted.top)
    return [hit for row in best[: wanted.top] for hit, _ in _hits_of(index, row, query, wanted)]


def _moments(index: VideoIndex, best: Sequence[_Row], query: Floats, wanted: Wanted) -> list[Hit]:
    """Return the best moments of the ``top`` best videos, or of more if too many are duplicates."""
    count, found = 0, []
    while True:
        new, count = best[count : max(2 * count, wanted.top)], max(2 * count, wanted.top)
        found += [pair for row in new for pair in _hits_of(index, row, query, wanted)]
        found.sort(key=lambda pair: (-pair[0].score, pair[0].path, pair[0].start))
        scored = [pair for pair in found if wanted.min_score is None or pair[0].score >= wanted.min_score]
        if wanted.dedupe is None:
            return [hit for hit, _ in scored[: wanted.top]]
        hits = _distinct(scored, wanted.dedupe, wanted.top)
        if len(hits) >= wanted.top or count >= len(best) or _is_below(best[count - 1], wanted):
            return hits


def _is_below(row: _Row, wanted: Wanted) -> bool:
    return wanted.min_score is not None and row[1] < wanted.min_score


def _distinct(found: Iterable[tuple[_Item, _Embedding]], dedupe: float, top: int) -> list[_Item]:
    """Return the first ``top`` items whose embedding (E,) is less similar than ``dedupe`` to all before."""
    items: list[_Item] = []
    kept: list[NDArray[np.float64]] = []
    for item, embedding in found:
        unit = embedding.astype(np.float64)
        unit /= np.linalg.norm(unit)
        if not kept or (np.array(kept) @ unit).max() < dedupe - _ROUNDING:
            items.append(item)
            kept.append(unit)
        if len(items) == top:
            break
    return items


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


def _best_of_videos(index: VideoIndex, found: Found) -> list[_Row]:
    """Return the best row of each video, with its score."""
    best: dict[int, _Row] = {}
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        best.setdefault(index.name_hash_of(row), (row, score))
    return list(best.values())


def _hits_of(index: VideoIndex, scored: _Row, query: Floats, wanted: Wanted) -> list[tuple[Hit, _Embedding]]:
    """Return the hit of a video with its best range, or a hit for each of its best moments.

    Ranks are not set. With each hit comes the embedding (E,) of its best frame.
    """
    (row, score), num_moments = scored, wanted.num_moments
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
    ranges = find_ranges(cosines, seconds, (begin, end), most=max(num_moments, 1), matched=wanted.matched)
    file = named_path(video.file)
    return [
        (
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
            ),
            frames[int((seconds == part.best).argmax())],
        )
        for part in ranges
    ]


def describe_limits(min_score: float | None, max_false: float | None) -> str:
    """Describe which limits left a search without hits; "" without limits."""
    limits = []
    if min_score is not None:
        limits.append(f"a score of {min_score:g} or more")
    if max_false is not None:
        limits.append(f"a confidence of {1 - max_false:g} or more")
    return f"no hit has {' and '.join(limits)}" if limits else ""


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
