"""Look up videos by their names in annotations, among the files of a folder or the keys of a frame store."""

# For speed in large folders, no Path is created for each file:
# ruff: noqa: PTH118

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vopcli.errors import DataError, FileError
from vopcli.video.find_videos import VIDEO_SUFFIXES, is_file, walk_files


class VideoFiles:
    """An index of video names by path, by file name and by stem; each look-up takes constant time.

    A stem is the part before the last dot. Names that differ only in their Unicode composition (an accent
    apart from its letter) are equal. Each look-up returns all matching files, sorted; more than one means
    that the name is ambiguous.
    """

    def __init__(self, paths: Iterable[str], *, root: str | None = None, prefer: Sequence[str] = ()) -> None:
        """Index videos.

        Args:
            paths: names of the videos, with slashes between folders.
            root: folder that the paths are relative to; None: they are keys of a frame store. In a folder
                only files with a video suffix are found by stem, so that ``video7.json`` beside
                ``video7.mp4`` is not a second video.
            prefer: suffixes in order of preference, to choose among several files of one name.
        """
        self.root = root
        self.unreadable: tuple[str, ...] = ()
        self._prefer = [suffix.lower() for suffix in prefer]
        self._paths = _Names(lambda path: path)
        self._names = _Names(_file_name)
        self._stems = _Names(lambda path: stem(_file_name(path)))
        self._path_stems = _Names(stem)
        for path in sorted(set(paths)):
            self._paths.add(path)
            self._names.add(path)
            if root is None or suffix(path) in VIDEO_SUFFIXES:
                self._stems.add(path)
                self._path_stems.add(path)

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self._stems.all)

    def example(self) -> str:
        """Return one of the videos as an example for messages; empty without videos."""
        return self._stems.all[0] if self._stems.all else ""

    def by_name(self, name: str) -> tuple[str, ...]:
        """Return the files of this name, suffix included, in any folder."""
        return self._choose(self._names.get(name))

    def by_stem(self, name: str) -> tuple[str, ...]:
        """Return the videos of this name with any suffix, in any folder."""
        return self._choose(self._stems.get(name))

    def by_any(self, name: str) -> tuple[str, ...]:
        """Return the videos that match as path with or without suffix, as file name, or as stem."""
        path = posixpath.normpath(name)
        if found := self._paths.get(path):
            return self._choose(found)
        if "/" in path:
            return self._choose(self._path_stems.get(path))
        return self._choose(sorted({*self._names.get(path), *self._stems.get(path)}))

    def _choose(self, found: Sequence[str]) -> tuple[str, ...]:
        if len(found) < 2:
            return tuple(found)
        for preferred in self._prefer:
            if fitting := [path for path in found if suffix(path) == preferred]:
                found = fitting
                break
        if self.root is not None:  # links to the same file are one file
            root = self.root
            found = list(
                {os.path.realpath(os.path.join(root, path)): path for path in reversed(found)}.values()
            )
        return tuple(sorted(found))


class _Names:
    """Paths by a part of them; exact matches go before matches in another Unicode composition."""

    def __init__(self, part: Callable[[str], str]) -> None:
        self.all: list[str] = []
        self._part = part
        self._paths: dict[str, list[str]] = {}

    def add(self, path: str) -> None:
        self.all.append(path)
        self._paths.setdefault(_composed(self._part(path)), []).append(path)

    def get(self, name: str) -> list[str]:
        found = self._paths.get(_composed(name), [])
        return [path for path in found if self._part(path) == name] or found


def stem(path: str) -> str:
    """Remove the suffix after the last dot of the file name: "a/b.c.mp4" and "a/b.c." become "a/b.c"."""
    name = _file_name(path)
    before, dot, _ = name.rpartition(".")
    return path[: len(path) - len(name)] + (before if dot and before else name)


def suffix(path: str) -> str:
    """Return the suffix from the last dot of the file name on, in lower case; empty without a dot."""
    return _file_name(path)[len(_file_name(stem(path))) :].lower()


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def find_video_files(root: Path, *, prefer: Sequence[str] = ()) -> VideoFiles:
    """Index all files below a folder; links are followed, hidden files and folders skipped.

    Args:
        root: the folder.
        prefer: suffixes in order of preference, to choose among several files of one name.

    Raises:
        FileError: the folder cannot be read; unreadable folders below it are listed in ``unreadable``.
        DataError: ``root`` is not a folder, or has no files.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is not a folder", hint="pass the folder of the videos")
    unreadable: list[str] = []
    try:
        folder = os.path.realpath(root)
        with os.scandir(folder):
            pass  # an unreadable folder is an error only if it is the root
        entries = walk_files(folder, lambda name, _: unreadable.append(name))
        paths = [path for path, entry in entries if is_file(entry)]
    except OSError as error:
        raise FileError(root, error) from error
    if not paths:
        raise DataError(f"{root} has no files", hint="pass the folder of the videos")
    files = VideoFiles(paths, root=folder, prefer=prefer)
    files.unreadable = tuple(unreadable)
    return files
