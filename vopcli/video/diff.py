"""Compare the videos found with those known from before: what is new, changed, renamed, or there twice."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from vopcli.errors import DataError
from vopcli.video.video_file import VideoFile

_BLOCK_BYTES: Final = 1 << 20


KnownT = TypeVar("KnownT", bound=VideoFile)


@dataclass
class Changes(Generic[KnownT]):
    """How the found videos differ from the known ones.

    Attributes:
        unchanged: known, and the same still.
        touched: the same content as known, but another time of change or folder.
        renamed: known content under a new name, its old file gone.
        copies: known content under a new name, its old name still in use.
        new: to be decoded, under a name not known before.
        changed: to be decoded, because the content of a known name changed, or another part of it is wanted.
        twins: as new or changed as an earlier one, with the same content: by path, the path of that one.
        vanished: known, not found now, and no longer on the disk.
        hashes: SHA-256 of the files that had to be read for the decision, by path.
    """

    unchanged: list[KnownT] = field(default_factory=list)
    touched: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    renamed: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    copies: list[tuple[VideoFile, KnownT]] = field(default_factory=list)
    new: list[VideoFile] = field(default_factory=list)
    changed: list[VideoFile] = field(default_factory=list)
    twins: list[tuple[VideoFile, str]] = field(default_factory=list)
    vanished: list[KnownT] = field(default_factory=list)
    hashes: dict[str, bytes] = field(default_factory=dict)


def hash_file(path: str) -> bytes:
    """Return the SHA-256 of a file's content, 32 bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a name of any bytes)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def compare(
    found: Sequence[VideoFile],
    known: Mapping[str, KnownT],
    advance: Callable[[], object] = lambda: None,
    part: Callable[[VideoFile | KnownT], Hashable] = lambda _: None,
) -> Changes[KnownT]:
    """Compare by size and time, and where these do not decide, by the content.

    Only files are read whose size is that of another file in question, so that new videos are not read twice.

    Args:
        found: the files there are now.
        known: what is known, by path.
        advance: called for each found file when it is decided.
        part: tells which part of a video is wanted, or known; another part is other content.

    Raises:
        DataError: two folders hold different videos of the same relative path.
    """
    changes: Changes[KnownT] = Changes()
    open_questions = []
    for video in found:
        noted = known.get(video.path)
        if noted and (noted.root, noted.size, noted.mtime_ns) == (video.root, video.size, video.mtime_ns):
            if part(noted) == part(video):
                changes.unchanged.append(noted)
                advance()
                continue
            if noted.sha256:
                changes.hashes[video.path] = noted.sha256
        open_questions.append(video)
    sizes = Counter(video.size for video in open_questions)
    sizes.update({noted.size for noted in known.values()})
    by_content: dict[Hashable, KnownT] = {}
    for noted in known.values():
        by_content.setdefault((noted.sha256, part(noted)), noted)
    decoded: dict[Hashable, str] = {}
    for video in open_questions:
        named = known.get(video.path)
        if not _is_known_name(video, named, changes, part):
            sha256 = _hash(video, changes) if sizes[video.size] > 1 else b""
            content = (sha256, part(video)) if sha256 else None
            same = by_content.get(content) if content else None
            _decide(video, content, named, same, changes, decoded)
        advance()
    _sort_out_names(found, known, changes)
    return changes


def _hash(video: VideoFile, changes: Changes[KnownT]) -> bytes:
    if video.path in changes.hashes:
        return changes.hashes[video.path]
    try:
        changes.hashes[video.path] = hash_file(video.file)
    except OSError:  # decoding it will say why
        return b""
    return changes.hashes[video.path]


def _is_known_name(
    video: VideoFile,
    noted: KnownT | None,
    changes: Changes[KnownT],
    part: Callable[[VideoFile | KnownT], Hashable],
) -> bool:
    """Decide where the known name is enough: the content is the same, or two videos have one name.

    Raises:
        DataError: the known video is another, and still there.
    """
    if noted is None or not noted.sha256:
        return False
    is_still_there = noted.root != video.root and os.path.isfile(noted.file)  # noqa: PTH113
    is_moved = not is_still_there and (noted.size, noted.mtime_ns) == (video.size, video.mtime_ns)
    if is_moved or (noted.size == video.size and noted.sha256 == _hash(video, changes)):
        if part(noted) != part(video):
            return False
        if is_still_there:
            changes.unchanged.append(noted)
        else:
            changes.touched.append((video, noted))
        return True
    if is_still_there:
        raise DataError(
            f"{video.path} is already known from {noted.root}, and {video.file} is another video",
            hint="name the folder that holds both, or use a second file for the second folder",
        )
    return False


def _decide(
    video: VideoFile,
    content: Hashable,
    noted: KnownT | None,
    same: KnownT | None,
    changes: Changes[KnownT],
    decoded: dict[Hashable, str],
) -> None:
    if same:
        changes.copies.append((video, same))
    elif content in decoded:
        changes.twins.append((video, decoded[content]))
    else:
        (changes.changed if noted else changes.new).append(video)
        if content:
            decoded[content] = video.path


def _sort_out_names(
    found: Iterable[VideoFile], known: Mapping[str, KnownT], changes: Changes[KnownT]
) -> None:
    """Tell renamed from copied, and find what vanished."""
    files = {video.path for video in found}
    missing = {
        noted.path: noted
        for noted in known.values()
        if noted.path not in files and not os.path.lexists(noted.file)
    }
    copies, changes.copies = changes.copies, []
    for video, noted in copies:
        origin = missing.pop(noted.path, None)
        (changes.renamed if origin else changes.copies).append((video, noted))
    changes.vanished = list(missing.values())
