"""Write a file aside and rename it."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vopcli.errors import FileError


@contextlib.contextmanager
def written_aside(path: Path, *, is_new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends well, else vanishes.

    The content is on disk before the rename, so that neither a kill nor a power cut leaves half a file.

    Args:
        path: the file to write.
        is_new: refuse to replace a file, even one that another process makes at this moment.

    Raises:
        FileError: the folder cannot be written, the disk is full, or a file that ``is_new`` exists.
    """
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise FileError(path, error) from error
    aside = Path(name)
    try:
        yield aside
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        aside.chmod(mode)  # mkstemp makes files that only their owner can read
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        if not is_new or not _linked(aside, path):
            aside.replace(path)
    except OSError as error:
        raise FileError(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


def _linked(aside: Path, path: Path) -> bool:
    """Give a file a second name; False where the file system has no hard links.

    Raises:
        OSError: the name exists.
    """
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, unless they are there.

    Raises:
        OSError: one of them cannot be made.
        NotADirectoryError: there is a file of its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file of that name, which nothing can lie below
        raise NotADirectoryError(errno.ENOTDIR, "not a folder") from error


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, error) from error
