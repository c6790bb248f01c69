"""Find the videos below folders, in lists of names, and named one by one."""

# Names of any bytes are kept as they are, and large folders walked, without a Path for each:
# ruff: noqa: PTH100, PTH116, PTH118, PTH121, PTH122, PTH123

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, FileError
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

    Folders are walked recursively. Hidden files and folders, and folders of system junk, are left out; below
    a folder a video is what has one of `VIDEO_SUFFIXES`. Symbolic links are followed, and each folder is
    entered once. A file that ends in one of `LIST_SUFFIXES` holds a video's name a line, relative to the
    list's folder. Any other file is taken as a video, whatever its name.

    Args:
        sources: folders, videos and lists.
        report_problem: called with a name and a reason for each folder or file that could not be looked at.

    Raises:
        FileError: a source does not exist or cannot be read.
        DataError: two files have the same path relative to their sources.
    """
    videos: dict[str, VideoFile] = {}
    for source in sources:
        for video in _find(source, report_problem):
            other = videos.setdefault(video.path, video)
            if not _is_same_file(other, video):
                raise DataError(
                    f"{other.file} and {video.file} would both be known as {video.path}",
                    hint="name the folder that holds both, or extract them into two stores",
                )
    return sorted(videos.values(), key=lambda video: os.fsencode(video.path))


def named_videos(root: Path, names: Iterable[str], report_problem: ReportProblem) -> list[VideoFile]:
    """Return the videos of these paths below ``root``, sorted by their bytes.

    Args:
        root: the folder.
        names: relative to it; any file is taken as a video.
        report_problem: called with a name and a reason for each that could not be looked at.
    """
    found = _stat_each(os.path.abspath(root), names, report_problem)
    return sorted(found, key=lambda video: os.fsencode(video.path))


def _is_same_file(one: VideoFile, other: VideoFile) -> bool:
    try:
        return one.root == other.root or os.path.samefile(one.file, other.file)
    except OSError:  # one has vanished since: it will be reported where it is read
        return True


def _find(source: Path, report_problem: ReportProblem) -> Iterator[VideoFile]:
    absolute = os.path.abspath(source)
    try:
        mode = os.stat(absolute).st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(absolute):
                pass  # a source that cannot be read is an error; a folder below it is a problem to report
            yield from _walk(absolute, report_problem)
        elif source.suffix.lower() in LIST_SUFFIXES:
            folder, names = os.path.split(absolute)[0], _read_list(Path(absolute))
            yield from _stat_each(folder, (_relative(folder, name) for name in names), report_problem)
        else:
            folder, name = os.path.split(absolute)
            yield from _stat_each(folder, [name], report_problem)
    except OSError as error:
        raise FileError(source, error) from error


def _read_list(path: Path) -> list[str]:
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [os.fsdecode(line) for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]


def _relative(folder: str, name: str) -> str:
    """Return a list's entry relative to ``folder``, or absolute when it lies elsewhere."""
    absolute = os.path.normpath(os.path.join(folder, name))
    return absolute.removeprefix(folder.rstrip(os.sep) + os.sep)


def _walk(root: str, report_problem: ReportProblem) -> Iterator[VideoFile]:
    """Walk real folders before those that links lead to, so that a folder keeps its own name."""
    seen: set[tuple[int, int]] = set()
    real: list[str] = [""]
    linked: list[str] = []
    while real or linked:
        folder = real.pop() if real else linked.pop(0)
        try:
            status = os.stat(os.path.join(root, folder))
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(
                os.scandir(os.path.join(root, folder)), key=lambda entry: os.fsencode(entry.name)
            )
        except OSError as error:
            report_problem(os.path.join(root, folder), _reason(error))
            continue
        entries = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [entry for entry in entries if _is_folder(entry)]
        for entry in folders:
            if entry.name.lower() not in _JUNK_FOLDERS:
                (linked if entry.is_symlink() else real).append(os.path.join(folder, entry.name))
        files = [entry for entry in entries if not _is_folder(entry) and _has_video_suffix(entry)]
        yield from _stat_each(root, (os.path.join(folder, entry.name) for entry in files), report_problem)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_video_suffix(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in _TYPESCRIPT_SUFFIXES and entry.is_file():
        return not _is_source_text(entry.path)
    return suffix in VIDEO_SUFFIXES


def _is_source_text(path: str) -> bool:
    """Tell TypeScript from an MPEG transport stream, which shares its suffixes."""
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
            report_problem(file, _reason(error))
            continue
        if stat.S_ISREG(status.st_mode):
            yield VideoFile(root, name, status.st_size, status.st_mtime_ns)
        else:
            report_problem(
                file, "is a folder, not a video" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
            )


def _reason(error: OSError) -> str:
    return str(FileError("", error)).strip()
