"""``vop info`` of an index: its contents, and whether they match their checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vopcli.errors import DataError
from vopcli.index.reader import FAILED, INDEX_FORMAT, PENDING, REPLACED, VideoIndex
from vopcli.index.thumbnails import read_thumbnail
from vopcli.progress import Progress


def describe_index(path: Path) -> dict[str, Any]:
    """Describe the contents of an index as JSON values.

    Raises:
        DataError: ``path`` cannot be read.
    """
    index = VideoIndex(path)
    statuses = [segment.status for segment in index.segments]
    rows = [segment.map("rows")[done] for segment, done in zip(index.segments, index.done, strict=True)]
    parts = sum(int(np.count_nonzero(part["is_part"])) for part in rows)
    return {
        "kind": INDEX_FORMAT.name,
        "version": INDEX_FORMAT.version,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "videos": len(index),
        "windows": parts,
        "frames": int(sum(part["num_real"].sum() for part in rows)),
        "duration_seconds": float(sum(part["duration_seconds"][part["is_part"] == 0].sum() for part in rows)),
        "unfinished": int(sum(np.count_nonzero(status == PENDING) for status in statuses)),
        "replaced": int(sum(np.count_nonzero(status == REPLACED) for status in statuses)),
        "failed": int(sum(np.count_nonzero(status == FAILED) for status in statuses)),
        "segments": len(index.segments),
        **index.meta.attributes(),
    }


def verify_index(path: Path, progress: Progress) -> list[str]:
    """Read the whole index and compare it with its checksums.

    Returns:
        One line for each problem; empty if there is none.

    Raises:
        DataError: ``path`` cannot be read at all.
    """
    return verify_rows(VideoIndex(path), progress)


def verify_rows(index: VideoIndex, progress: Progress) -> list[str]:
    """Verify all rows of an open index, in a file or a search engine, as `verify_index` does."""
    problems, rows = [], list(index.rows())
    with progress.task("verify", total=len(rows), unit="rows") as task:
        for row in rows:
            problems += _problems_of(index, row)
            task.advance()
    return problems


def _problems_of(index: VideoIndex, row: int) -> list[str]:
    try:
        norm = float(np.linalg.norm(index.embedding_of(row).astype(np.float64)))
        if not abs(norm - 1) < 1e-3 or not np.isfinite(index.frames_of(row)[0]).all():
            return [f"{index.path_of(row)}: its embeddings are not normalised"]
        index.video(row)
        for number in range(len(index.frames_of(row)[0])):
            read_thumbnail(index, row, number)
    except DataError as error:
        return [str(error)]
    return []
