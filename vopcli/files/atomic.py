"""Replace files and folders as a whole: build beside the target, then rename.

A killed process leaves a hidden folder beside the target:

    .NAME.<random>.part/   of `atomic_path`, which removes it when it writes the same target again
    .NAME.overwrite/       of `beside`, which continues it when the same command is run again

A process locks the folder that it uses, and the system releases the lock of a killed process.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from vopcli.errors import BusyError, FileError
from vopcli.files.lock import is_at, try_lock
from vopcli.progress import Progress

_OLD: Final = ".old"  # the replaced folder, between two renames


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
        remove_leftovers(path)
        with _temporary_folder(path) as folder:
            temporary = folder / path.name
            temporary.touch()
            yield temporary
            _sync(temporary)
            if not is_new or not _link(temporary, path):
                _rename(temporary, path)
    except OSError as error:
        raise FileError(path, error) from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written, before the work for it begins.

    Raises:
        FileError: ``path`` exists and ``overwrite`` is not set.
    """
    if path.exists() and not overwrite:
        raise FileError(path, FileExistsError(errno.EEXIST, "exists"))


@contextlib.contextmanager
def beside(path: Path, progress: Progress) -> Iterator[Path]:
    """Yield a path in a hidden folder to build a replacement at; the block has to move it to ``path`` itself.

    After an error the unfinished replacement is kept, and the next call yields its path again.

    Raises:
        BusyError: another process builds a replacement.
        FileError: the folder is not writable.
    """
    folder = _replacement_folder(path)
    new = folder / path.name
    try:
        make_folder(folder)
        with _locked(folder, is_owner=True):
            _restore(path)
            try:
                yield new
            except BaseException:
                _restore(path)
                if os.path.lexists(new):
                    state = f"{path} is unchanged" if os.path.lexists(path) else f"{path} is not written yet"
                    progress.note(f"{state}; run the same command to finish")
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError as error:
        raise BusyError(
            f"{path} is being replaced by another process", hint="wait until it has finished"
        ) from error
    except OSError as error:
        raise FileError(path, error) from error


def replace_file(new: Path, path: Path) -> None:
    """Sync a file and rename it to ``path``, with the permissions of the file it replaces.

    Raises:
        OSError: the disk failed.
    """
    _sync(new)
    _rename(new, path)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _rename(new: Path, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)


def replace_folder(new: Path, path: Path) -> None:
    """Move a folder built by `beside` to ``path``; after a kill in between, `restore` moves the old one back.

    Raises:
        OSError: the disk failed.
    """
    if os.path.lexists(path):
        path.rename(new.parent / _OLD)
    new.rename(path)


def restore(path: Path) -> None:
    """Move back a folder whose replacement was killed between the two renames.

    Raises:
        FileError: the folder cannot be moved.
    """
    folder = _replacement_folder(path)
    if os.path.lexists(folder / _OLD):
        try:
            with contextlib.suppress(BlockingIOError), _locked(folder):
                _restore(path)
        except OSError as error:
            raise FileError(path, error) from error


def note_unfinished(path: Path, progress: Progress) -> None:
    """Report an interrupted replacement of ``path``."""
    folder = _replacement_folder(path)
    if (folder / path.name).exists():
        progress.note(f"{folder} holds an interrupted --overwrite: repeat it to finish, or delete the folder")


def remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of killed writers of ``path``; those of live writers are locked."""
    pattern = re.compile(rf"\.{re.escape(path.name[:80])}\.(\d+|\d+\.rewrite|[a-z0-9_]{{8}})\.part")
    with contextlib.suppress(OSError):
        for found in [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]:
            with contextlib.suppress(OSError), _locked(found):
                if found.is_dir():
                    shutil.rmtree(found)
                else:
                    found.unlink()


def _replacement_folder(path: Path) -> Path:
    return path.with_name(f".{path.name[:80]}.overwrite")


def _restore(path: Path) -> None:
    old = _replacement_folder(path) / _OLD
    if not os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            old.rename(path)
    elif old.is_symlink():
        old.unlink()
    elif old.exists():
        shutil.rmtree(old)


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Create and lock a folder beside ``path``; remove it in the end."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_locked(folder, is_owner=True))
            except BlockingIOError:  # another process took it for a leftover before it was locked
                continue
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield folder
            return


@contextlib.contextmanager
def _locked(path: Path, *, is_owner: bool = False) -> Iterator[None]:
    """Lock a file or folder against other processes; an owner goes on where the file system has no locks.

    Raises:
        BlockingIOError: another process holds the lock, or has removed ``path``.
        OSError: ``path`` cannot be opened or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise BlockingIOError(errno.EAGAIN, "another process removed it") from error
    try:
        try:
            is_ours = try_lock(descriptor, path)
        except OSError:
            if not is_owner:
                raise
            is_ours = is_at(descriptor, path)
        if not is_ours:
            raise BlockingIOError(errno.EAGAIN, "another process holds or removed it")
        yield
    finally:
        os.close(descriptor)


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


def hash_file(path: str | Path, tick: Callable[[], None] = lambda: None) -> bytes:
    """Return the SHA-256 of a file's content, 32 bytes; ``tick`` is called for every MiB.

    Raises:
        OSError: ``path`` cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a name of any bytes)
        while block := file.read(1 << 20):
            digest.update(block)
            tick()
    return digest.digest()


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        FileError: ``path`` cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, error) from error
