"""Rows of an index without embeddings: videos that failed, and those that an interrupted run left out."""

from __future__ import annotations

import os

from vopcli.files.arrays import unpack_string
from vopcli.index.reader import DONE, FAILED, PENDING, IndexedVideo, VideoIndex


def failures_of(index: VideoIndex) -> dict[str, IndexedVideo]:
    """Return the videos that could not be decoded, by path.

    Raises:
        DataError: a row is damaged.
    """
    return {video.path: video for video in map(index.video, index.rows_with(FAILED))}


def unfinished_files(index: VideoIndex) -> list[str]:
    """Return the files of videos that an interrupted run did not come to, if they still exist."""
    pending = {
        int(record["name_hash"]): row
        for row in index.rows_with(PENDING)
        if not (record := index.record_of(row))["is_part"]
    }
    if not pending:
        return []
    for row in index.rows_with(FAILED) + index.rows_with(DONE):
        record = index.record_of(row)
        if not record["is_part"]:
            pending.pop(int(record["name_hash"]), None)
    files = []
    for row in pending.values():
        segment, place = index.position_of(row)
        record, paths = segment.map("rows")[place], segment.map("paths")
        root, path = (unpack_string(paths, *record[name].tolist()) for name in ("root", "path"))
        files.append(os.path.join(root, path))  # noqa: PTH118  (a name of any bytes)
    return sorted(file for file in files if os.path.exists(file))  # noqa: PTH110
