"""Compare found videos with those of an earlier run: new, changed, renamed, copied and deleted ones.

Example: the store knows a.mp4, b.mp4 and c.mp4; the folder now holds:

    file     size and time   content              result
    a.mp4    as known        not read             unchanged
    b.mp4    other           other                changed: b.mp4 is encoded again
    d.mp4    new name        that of c.mp4        renamed, if c.mp4 is deleted; else a copy
    e.mp4    new name        new                  new
    f.mp4    new name        that of e.mp4        duplicate of e.mp4: encoded once

Only content that size, time and name do not decide is hashed. Objects on S3 are not: with
a new name or time they are new or changed, and those that are known but not found are taken to exist.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vopcli.errors import DataError
from vopcli.files.atomic import hash_file
from vopcli.files.s3 import is_remote, may_exist
from vopcli.video.video_file import VideoFile

KnownT = TypeVar("KnownT", bound=VideoFile)


@dataclass
class Changes(Generic[KnownT]):
    """Differences between found and known videos.

    Attributes:
        unchanged: known videos that are still the same.
        same_content: known name and content, but another modification time or root.
        renamed: known content under a new name; the old file is deleted.
        copies: known content under a new name; the old file still exists.
        new: unknown name and content: to be decoded.
        changed: known name with other content, or another wanted part of it: to be decoded.
        duplicates: new or changed videos with the content of another one, each with the path of that one.
        deleted: known videos whose files no longer exist.
        hashes: SHA-256 of the files that were read for the comparison, by path.
    """

    unchanged: list[KnownT] = field(default_factory=list)
    same_content: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    renamed: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    copies: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    new: list[VideoFile] = field(default_factory=list)
    changed: list[VideoFile] = field(default_factory=list)
    duplicates: list[tuple[VideoFile, str]] = field(default_factory=list)
    deleted: list[KnownT] = field(default_factory=list)
    hashes: dict[str, bytes] = field(default_factory=dict)


def find_changes(
    found: Sequence[VideoFile],
    known: Mapping[str, KnownT],
    advance: Callable[[], object] = lambda: None,
    part: Callable[[VideoFile | KnownT], Hashable] = lambda _: None,
) -> Changes[KnownT]:
    """Compare videos by size and modification time, and by content if these are not sufficient.

    A new file is read only if another file has the same size, since decoding reads it anyway.

    Args:
        found: videos on disk.
        known: videos of earlier runs, by path.
        advance: called for each found video when it is decided.
        part: returns the wanted or known part of a video; another part counts as other content.

    Raises:
        DataError: two folders have different videos of the same relative path.
    """
    changes: Changes[KnownT] = Changes()
    undecided = []
    for video in found:
        stored = known.get(video.path)
        if stored and (stored.root, stored.size, stored.mtime_ns) == (video.root, video.size, video.mtime_ns):
            if part(stored) == part(video):
                changes.unchanged.append(stored)
                advance()
                continue
            if stored.sha256:
                changes.hashes[video.path] = stored.sha256
        undecided.append(video)
    sizes = Counter(video.size for video in undecided)
    sizes.update({stored.size for stored in known.values()})
    by_content: dict[Hashable, KnownT] = {}
    for stored in known.values():
        by_content.setdefault((stored.sha256, part(stored)), stored)
    decoded: dict[Hashable, str] = {}
    for video in undecided:
        named = known.get(video.path)
        if not _is_known_name(video, named, changes, part):
            sha256 = _hash(video, changes) if sizes[video.size] > 1 else b""
            content = (sha256, part(video)) if sha256 else None
            same = by_content.get(content) if content else None
            _decide(video, content, named, same, changes, decoded)
        advance()
    _separate_renamed(found, known, changes)
    return changes


def _hash(video: VideoFile, changes: Changes[KnownT]) -> bytes:
    if video.path in changes.hashes:
        return changes.hashes[video.path]
    if is_remote(video.file):
        return b""
    try:
        changes.hashes[video.path] = hash_file(video.file)
    except OSError:  # decoding reports the reason
        return b""
    return changes.hashes[video.path]


def _is_known_name(
    video: VideoFile,
    stored: KnownT | None,
    changes: Changes[KnownT],
    part: Callable[[VideoFile | KnownT], Hashable],
) -> bool:
    """Decide a video by its known name if the content is the same; return whether it is decided.

    Raises:
        DataError: the known video of this name is another one, and still exists in another folder.
    """
    if stored is None or not stored.sha256:
        return False
    is_still_there = stored.root != video.root and may_exist(stored.file, os.path.isfile)
    is_moved = not is_still_there and (stored.size, stored.mtime_ns) == (video.size, video.mtime_ns)
    if is_moved or (stored.size == video.size and stored.sha256 == _hash(video, changes)):
        if part(stored) != part(video):
            return False
        if is_still_there:
            changes.unchanged.append(stored)
        else:
            changes.same_content.append((video, stored))
        return True
    if is_still_there:
        raise DataError(
            f"{video.path} is already stored from {stored.root}, and {video.file} is another video",
            hint="pass a folder that contains both, or use another output file for the second folder",
        )
    return False


def _decide(
    video: VideoFile,
    content: Hashable,
    stored: KnownT | None,
    same: KnownT | None,
    changes: Changes[KnownT],
    decoded: dict[Hashable, str],
) -> None:
    if same:
        changes.copies.append((video, same))
    elif content in decoded:
        changes.duplicates.append((video, decoded[content]))
    else:
        (changes.changed if stored else changes.new).append(video)
        if content:
            decoded[content] = video.path


def _separate_renamed(
    found: Iterable[VideoFile], known: Mapping[str, KnownT], changes: Changes[KnownT]
) -> None:
    """Separate renamed videos from copies, and find deleted ones."""
    files = {video.path for video in found}
    missing = {
        stored.path: stored
        for stored in known.values()
        if stored.path not in files and not may_exist(stored.file, os.path.lexists)
    }
    copies, changes.copies = changes.copies, []
    for video, stored in copies:
        origin = missing.pop(stored.path, None)
        (changes.renamed if origin else changes.copies).append((video, stored))
    changes.deleted = list(missing.values())
