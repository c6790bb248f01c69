"""Rows of an index without embeddings: videos that failed, and those that an interrupted run left out."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from vopcli.files.arrays import unpack_string
from vopcli.files.s3 import may_exist
from vopcli.index.reader import DONE, FAILED, PENDING, IndexedVideo, VideoIndex


def failures_of(index: VideoIndex) -> dict[str, IndexedVideo]:
    """Return the videos that could not be decoded, by path.

    Raises:
        DataError: a row is damaged.
    """
    return {video.path: video for video in map(index.video, index.rows_with(FAILED))}


def unfinished_files(index: VideoIndex) -> list[str]:
    """Return the files of videos that an interrupted run did not reach, if they still exist or may."""
    rows, names = _names_of(index, (PENDING,))
    _, finished = _names_of(index, (FAILED, DONE))
    files = set()
    for row in rows[~np.isin(names, finished)].tolist():
        segment, place = index.position_of(row)
        record, paths = segment.map("rows")[place], segment.map("paths")
        root, path = (unpack_string(paths, *record[name].tolist()) for name in ("root", "path"))
        files.add(os.path.join(root, path))  # noqa: PTH118  (a name of any bytes)
    return sorted(filter(may_exist, files))


def _names_of(index: VideoIndex, statuses: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the rows of videos, without windows, of some statuses, and the hashes of their names."""
    found, start = [(np.empty(0, np.int64), np.empty(0, np.uint64))], 0
    for segment in index.segments:
        rows = segment.map("rows")
        places = np.flatnonzero(np.isin(segment.status, statuses) & (rows["is_part"] == 0))
        found.append((places + start, rows["name_hash"][places]))
        start += len(rows)
    numbers, names = zip(*found, strict=True)
    return np.concatenate(numbers), np.concatenate(names)
