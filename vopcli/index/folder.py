"""The index of a folder of videos, or of single videos: where it is, and whether it is up to date."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vopcli.errors import DataError
from vopcli.files.hdf5 import read_format_name
from vopcli.index.leftovers import failures_of
from vopcli.index.reader import INDEX_FORMAT, VideoIndex
from vopcli.video.video_file import VideoFile, is_same_file

OWN_INDEX: Final = Path(".vop", "index.h5")  # hidden, so that no search for videos enters the folder


def own_index(sources: Sequence[Path], cache: Path) -> Path:
    """Return the path of the index of sources, which may not exist yet.

    It lies in a hidden folder of a single folder, and in the cache for a folder that is read-only, for
    several folders, and for files.

    Args:
        sources: absolute folders and files.
        cache: the user's cache folder.
    """
    if len(sources) == 1 and sources[0].is_dir() and os.access(sources[0], os.W_OK | os.X_OK):
        return sources[0] / OWN_INDEX
    names = b"\0".join(sorted(map(os.fsencode, sources)))
    return cache / "indexes" / f"{hashlib.sha256(names).hexdigest()[:32]}.h5"


def count_changes(index: VideoIndex, found: Sequence[VideoFile]) -> tuple[int, int]:
    """Compare an index with the videos on disk, by size and time.

    Videos that failed and have not changed since count as known.

    Returns:
        The numbers of videos that are new or changed, and of those in the index that are not among ``found``.

    Raises:
        DataError: a row of the index is damaged.
    """
    known, failures = index.find(found).videos, failures_of(index)
    num_known = 0
    num_changed = 0
    for file in found:
        states = [state for state in (known.get(file.path), failures.get(file.path)) if state]
        num_known += file.path in known
        num_changed += not any(is_same_file(state, file) for state in states)
    return num_changed, len(index) - num_known


def indexes_in(folder: Path) -> list[Path]:
    """Return the index files that lie directly in a folder, by name."""
    return [path for path in sorted(folder.glob("*.h5")) if _is_index(path)]


def _is_index(path: Path) -> bool:
    try:
        return path.is_file() and read_format_name(path) == INDEX_FORMAT.name
    except DataError:
        return False
