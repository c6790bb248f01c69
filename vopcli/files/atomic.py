"""Write files atomically: a temporary file beside the target, then a rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vopcli.errors import FileError


@contextlib.contextmanager
def atomic_path(path: Path, *, is_new: bool = False) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` on success, delete it on error.

    The content is synced before the rename, so a kill or a power cut never leaves a partial file.

    Args:
        path: the file to write.
        is_new: fail if ``path`` exists, even if another process creates it at this moment.

    Raises:
        FileError: the folder is not writable, the disk is full, or ``is_new`` is set and ``path`` exists.
    """
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise FileError(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        temporary.chmod(mode)  # mkstemp creates files with mode 0600
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if not is_new or not _link(temporary, path):
            temporary.replace(path)
    except OSError as error:
        raise FileError(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> bool:
    """Hard-link ``path`` to the temporary file; return False if the file system has no hard links.

    A rename would replace an existing file; a link fails if there is one.

    Raises:
        OSError: ``path`` exists.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        return False
    return True


def make_folder(folder: Path) -> None:
    """Create a folder and its parents unless they exist.

    Raises:
        OSError: a folder cannot be created.
        NotADirectoryError: ``folder`` is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "not a folder") from error


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        FileError: ``path`` cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, error) from error
