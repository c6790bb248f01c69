"""Evaluate the ranges that a search finds in an index, within the annotated video and over all videos."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.datasets.moments import MomentQuery, read_moment_queries
from vopcli.errors import DataError, format_name
from vopcli.evaluation.moments import (
    MAX_PREDICTIONS,
    MomentMetrics,
    Ranges,
    iou,
    measure_constant,
    measure_moments,
)
from vopcli.files.atomic import atomic_path
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.progress import Progress
from vopcli.search.hits import join_frames
from vopcli.search.ranges import Range, find_ranges
from vopcli.search.search import Index
from vopcli.search.stores import open_videos


@dataclass(frozen=True)
class MomentResult:
    """Moment retrieval in an index; all metrics in percent.

    Attributes:
        num_queries: number of queries that were evaluated.
        num_videos: number of videos in the index.
        num_missing: queries that were left out, because the index does not have their video.
        within: metrics of the ranges in the annotated video.
        constant: metrics of the best constant range.
        video_first: queries whose video is the first of all videos.
        r1_at_50: queries whose first hit of all videos has an IoU of at least 0.5 with the annotation.
        r1_at_70: the same of at least 0.7.
    """

    num_queries: int
    num_videos: int
    num_missing: int
    within: MomentMetrics
    constant: MomentMetrics
    video_first: float
    r1_at_50: float
    r1_at_70: float

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


def evaluate_moments(
    index_path: Path,
    queries_path: Path,
    progress: Progress,
    *,
    allow_missing: bool = False,
    predictions: Path | None = None,
) -> MomentResult:
    """Find each query in an index, and compare the ranges with the annotated ones.

    Args:
        index_path: the index.
        queries_path: queries with their ranges, see `read_moment_queries`.
        progress: receives warnings and progress.
        allow_missing: leave out queries whose video the index does not have.
        predictions: file for the predicted ranges, JSON Lines with ``pred_relevant_windows``.

    Raises:
        DataError: a file is missing or damaged, or videos of queries are not in the index.
        WeightsError: the index's model is missing.
    """
    queries = read_moment_queries(queries_path)
    videos = open_videos(index_path)
    owners = _owners(videos, queries)
    missing = sorted({query.vid for query, owner in zip(queries, owners, strict=True) if owner is None})
    kept = [(query, owner) for query, owner in zip(queries, owners, strict=True) if owner is not None]
    if missing and not (allow_missing and kept):
        raise DataError(
            f"{len(missing)} videos of {queries_path} are not in {index_path}, "
            f"such as {format_name(missing[0])}",
            hint="encode them with `vop encode`, or leave out their queries with --allow-missing",
        )
    asked = [query for query, _ in kept]
    relevant = [np.array(query.windows) for query in asked]
    with Index(index_path, progress=progress) as index:
        vectors = index.encode([query.text for query in asked])
        first = [hits[0] for hits in index.search(list(vectors), top=1)]
    found = _find_within(videos, [owner.row for _, owner in kept], vectors, progress)
    is_right = [str(hit.file) == owner.file for hit, (_, owner) in zip(first, kept, strict=True)]
    shared = [
        right * float(iou(np.array([[hit.start, hit.end]]), ranges).max())
        for right, hit, ranges in zip(is_right, first, relevant, strict=True)
    ]
    if predictions:
        _write_predictions(predictions, asked, found)
    predicted: list[Ranges] = [np.array([(each.start, each.end) for each in ranges]) for ranges in found]
    return MomentResult(
        num_queries=len(kept),
        num_videos=len(videos),
        num_missing=len(queries) - len(kept),
        within=measure_moments(predicted, relevant),
        constant=measure_constant([query.duration for query in asked], relevant),
        video_first=float(100 * np.mean(is_right)),
        r1_at_50=float(100 * np.mean(np.array(shared) >= 0.5)),
        r1_at_70=float(100 * np.mean(np.array(shared) >= 0.7)),
    )


def _find_within(
    videos: VideoIndex, rows: Sequence[int], vectors: NDArray[np.float32], progress: Progress
) -> list[list[Range]]:
    """Return the ranges of each query's own video that match it, best first; a video is read once."""
    found: list[list[Range]] = [[] for _ in rows]
    by_video: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_video[row].append(number)
    with progress.task("moments", total=len(by_video), unit="videos") as task:
        for row, numbers in by_video.items():
            frames, seconds = join_frames(videos, videos.windows_of(row))
            cosines = frames.astype(np.float32) @ vectors[numbers].T  # (T, Q)
            duration = videos.video(row).duration_seconds
            for number, column in zip(numbers, cosines.T, strict=True):
                found[number] = find_ranges(column, seconds, (0.0, duration), most=MAX_PREDICTIONS)
            task.advance()
    return found


def _owners(index: VideoIndex, queries: Sequence[MomentQuery]) -> list[IndexedVideo | None]:
    """Return the video of each query: by path, or by file name with or without suffix if that is unique."""
    by_name: dict[str, list[IndexedVideo]] = defaultdict(list)
    by_path = {}
    for video in index.videos():
        path = Path(video.path)
        by_path[video.path] = video
        for name in {path.name, path.stem, str(path.with_suffix(""))}:
            by_name[name].append(video)
    unique = {name: videos[0] for name, videos in by_name.items() if len(videos) == 1} | by_path
    return [unique.get(query.vid) for query in queries]


def _write_predictions(path: Path, queries: Sequence[MomentQuery], found: Sequence[Sequence[Range]]) -> None:
    """Write the ranges of each query with their scores, which other evaluators sort by."""
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for query, ranges in zip(queries, found, strict=True):
            scores = np.minimum.accumulate([each.score for each in ranges]).tolist()  # in the order of ranges
            windows = [[each.start, each.end, score] for each, score in zip(ranges, scores, strict=True)]
            line = {"qid": query.qid, "query": query.text, "vid": query.vid, "pred_relevant_windows": windows}
            file.write(json.dumps(line) + "\n")
