"""Find videos in folders, in lists of names, and by name."""

# Names of any bytes are kept unchanged, and no Path is created for each file of a large folder:
# ruff: noqa: PTH100, PTH116, PTH118, PTH121, PTH122, PTH123

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, FileError, format_name
from vopcli.files.s3 import is_remote, list_objects, named_path
from vopcli.video.video_file import VideoFile

# fmt: off
VIDEO_SUFFIXES: Final = (
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf",
    ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg",
    ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
LIST_SUFFIXES: Final = (".list", ".lst", ".txt")

_JUNK_FOLDERS: Final = frozenset({
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "__macosx", "__pycache__", "lost+found",
    "node_modules", "system volume information",
})
# fmt: on
_TYPESCRIPT_SUFFIXES: Final = (".mts", ".ts")
_SYNC_BYTE: Final = 0x47  # an MPEG transport stream begins with it


ReportProblem = Callable[[str, str], None]


def find_videos(sources: Sequence[Path], report_problem: ReportProblem) -> list[VideoFile]:
    """Find the videos of ``sources``, sorted by the bytes of their paths.

    Folders are searched recursively, as in `walk_files`, for files with one of `VIDEO_SUFFIXES`. A file with
    one of `LIST_SUFFIXES` lists names of videos, one per line, relative to the folder of the list. Any other
    file is taken as a video. The objects below an s3:// source are found by the same rules.

    Args:
        sources: folders, videos and lists.
        report_problem: called with the name and the reason for each folder or file that cannot be read.

    Raises:
        FileError: a source does not exist or cannot be read.
        StorageError: S3 does not answer, or refuses.
        DataError: two files have the same path relative to their sources.
    """
    videos: dict[str, VideoFile] = {}
    for source in sources:
        for video in _find(source, report_problem):
            other = videos.setdefault(video.path, video)
            if not _is_same_file(other, video):
                raise DataError(
                    f"{other.file} and {video.file} would both be stored as {video.path}",
                    hint="pass a folder that contains both, or extract them into two stores",
                )
    return sorted(videos.values(), key=lambda video: os.fsencode(video.path))


def check_found(
    videos: Sequence[VideoFile], sources: Iterable[Path], unreadable: Sequence[tuple[str, str]]
) -> None:
    """Check that there is a video; if not, name the sources and the first entries that cannot be read.

    Raises:
        DataError: there is no video.
    """
    if videos:
        return
    problems = "".join(f"; {format_name(name)} {reason}" for name, reason in unreadable[:3])
    raise DataError(
        f"no video found in {', '.join(map(os.fspath, sources))}{problems}",
        hint="suffixes such as .mp4 are searched for, see `vop extract-frames --help`; name others directly",
    )


def named_videos(root: Path, names: Iterable[str], report_problem: ReportProblem) -> list[VideoFile]:
    """Return the named videos of a folder, sorted by the bytes of their paths.

    Args:
        root: the folder.
        names: paths relative to ``root``; any file is taken as a video.
        report_problem: called with the name and the reason for each file that cannot be read.
    """
    found = _stat_each(os.path.abspath(root), names, report_problem)
    return sorted(found, key=lambda video: os.fsencode(video.path))


def _is_same_file(one: VideoFile, other: VideoFile) -> bool:
    if is_remote(one.file) or is_remote(other.file):
        return one.file == other.file
    try:
        return one.root == other.root or os.path.samefile(one.file, other.file)
    except OSError:  # deleted since: reported when it is read
        return True


def _find(source: Path, report_problem: ReportProblem) -> Iterator[VideoFile]:
    if is_remote(source):
        yield from _find_objects(named_path(source), report_problem)
        return
    absolute = os.path.abspath(source)
    try:
        mode = os.stat(absolute).st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(absolute):
                pass  # an unreadable source is an error; an unreadable folder below it is only reported
            entries = walk_files(absolute, report_problem)
            names = (path for path, entry in entries if _has_video_suffix(entry))
            yield from _stat_each(absolute, names, report_problem)
        elif source.suffix.lower() in LIST_SUFFIXES:
            folder = os.path.split(absolute)[0]
            names = (_relative(folder, name) for name in _read_list(Path(absolute)))
            yield from _stat_each(folder, names, report_problem)
        else:
            folder, name = os.path.split(absolute)
            yield from _stat_each(folder, [name], report_problem)
    except OSError as error:
        raise FileError(source, error) from error


def _find_objects(source: Path, report_problem: ReportProblem) -> Iterator[VideoFile]:
    """Find objects on S3; their content is not read, so that each .ts file counts as a video.

    Raises:
        DataError: there is none.
    """
    found = None
    for found in list_objects(source):
        whole, (*folders, name) = f"{found.folder}/{found.path}", found.path.split("/")
        if "" in folders:
            report_problem(whole, "has a folder without a name in its key")
        elif whole == str(source) or (
            os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
            and not any(part.startswith(".") for part in (*folders, name))
            and _JUNK_FOLDERS.isdisjoint(folder.lower() for folder in folders)
        ):
            yield VideoFile(found.folder, found.path, found.size, found.mtime_ns)
    if found is None:
        raise DataError(f"{source} does not exist", hint="no object has this name or begins with it and a /")


def _read_list(path: Path) -> list[str]:
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [os.fsdecode(line) for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]


def _relative(folder: str, name: str) -> str:
    """Return an entry of a list relative to ``folder``, or absolute if it is elsewhere."""
    absolute = os.path.normpath(os.path.join(folder, name))
    return absolute.removeprefix(folder.rstrip(os.sep) + os.sep)


def walk_files(root: str, report_problem: ReportProblem) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Walk a folder recursively; yield each file with its path relative to ``root``.

    Hidden files and folders, and system folders, are left out. Links are followed, and each folder is entered
    once: real folders before links, so that a folder inside ``root`` keeps its own name.

    Args:
        root: absolute folder.
        report_problem: called with the name and the reason for each folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    real: list[str] = [""]
    linked: list[str] = []
    while real or linked:
        folder = real.pop() if real else linked.pop(0)
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            report_problem(path, _describe(error))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield os.path.join(folder, entry.name), entry
            elif entry.name.lower() not in _JUNK_FOLDERS:
                (linked if entry.is_symlink() else real).append(os.path.join(folder, entry.name))


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a regular file or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_video_suffix(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in _TYPESCRIPT_SUFFIXES and is_file(entry):
        return not _is_source_text(entry.path)
    return suffix in VIDEO_SUFFIXES


def _is_source_text(path: str) -> bool:
    """Whether a .ts or .mts file is TypeScript source, not an MPEG transport stream."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return False
    return bool(head) and head[0] != _SYNC_BYTE and not any(byte < 9 for byte in head)


def _stat_each(root: str, names: Iterable[str], report_problem: ReportProblem) -> Iterator[VideoFile]:
    for name in names:
        file = os.path.join(root, name)
        try:
            status = os.stat(file)
        except OSError as error:
            report_problem(file, _describe(error))
            continue
        if stat.S_ISREG(status.st_mode):
            yield VideoFile(root, name, status.st_size, status.st_mtime_ns)
        else:
            report_problem(
                file, "is a folder, not a video" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
            )


def _describe(error: OSError) -> str:
    return str(FileError("", error)).strip()
