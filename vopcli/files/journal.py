"""Change the bookkeeping of a file so that a kill or a power cut leaves the old state or the new, never half.

A library that rewrites its own tables in place, such as HDF5, works on an `Overlay`. What it appends goes to
the file at once, where nothing refers to it yet; what it changes is held back, then written to a journal at
the head of the file, and only then to its place. Whoever opens the file next finishes what the journal says.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vopcli.errors import BusyError, FileError

HEAD_BYTES: Final = 1 << 16  # the head of a file that belongs to this module

MAGIC: Final = b"vopjrnl\0"
_RECORD: Final = struct.Struct(
    "<8sQQI"
)  # magic, end of the file, bytes that follow, CRC-32 of both and of these
_CHANGE: Final = struct.Struct("<QQ")  # place, bytes
_JOURNAL_PLACE: Final = 4096  # apart from the record of the settled state: no write touches both
_PAGE: Final = 4096
_PATIENCE_SECONDS: Final = 0.3


class Overlay(io.RawIOBase):
    """A file object whose changes to what was there before are held back until `commit`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._old_end = os.fstat(descriptor).st_size
        self._position = 0
        self._pages: dict[int, bytearray] = {}  # held back, by number
        self.error: OSError | None = None  # the library gets no exception: it could not tell it on

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def writable(self) -> bool:
        """Whether it can be written: always."""
        return True

    def seekable(self) -> bool:
        """Whether it has a position: always."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read as if nothing were held back."""
        data = bytearray(os.pread(self._descriptor, len(buffer), self._position))
        for page, start, end in _pages(self._position, self._position + len(data)):
            if page in self._pages:
                data[start - self._position : end - self._position] = self._pages[page][
                    start - page * _PAGE : end - page * _PAGE
                ]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, buffer: bytes | memoryview) -> int:  # type: ignore[override]
        """Hold back what changes the old part of the file, and append the rest."""
        data = bytes(buffer)
        split = max(0, min(len(data), self._old_end - self._position))
        for page, start, end in _pages(self._position, self._position + split):
            held = self._pages.get(page) or self._pages.setdefault(page, self._old_page(page))
            held[start - page * _PAGE : end - page * _PAGE] = data[
                start - self._position : end - self._position
            ]
        try:
            _write_at(self._descriptor, data[split:], self._position + split)
        except OSError as error:
            self.error = self.error or error
        self._position += len(data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Make the file longer; it is never made shorter than it was."""
        end = max(self._old_end, self._position if size is None else size)
        try:
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            self.error = self.error or error
        return end

    def check(self) -> None:
        """Raise the OSError of an earlier write, which the library could not pass on.

        Raises:
            OSError: the disk is full or failed.
        """
        if self.error:
            raise self.error

    def commit(self) -> None:
        """Make the changes take effect, all at once.

        Raises:
            OSError: they did not, because the disk is full or failed.
        """
        self.check()
        changes = b"".join(
            _CHANGE.pack(page * _PAGE, len(held)) + held for page, held in sorted(self._pages.items())
        )
        _sync(self._descriptor)  # what the changes refer to
        end = os.fstat(self._descriptor).st_size
        journal = _record(end, changes)
        if _JOURNAL_PLACE + len(journal) > HEAD_BYTES:
            raise OSError(f"{len(self._pages)} changed pages are more than the journal holds")
        _write_at(self._descriptor, journal, _JOURNAL_PLACE)
        _sync(self._descriptor)
        _finish(self._descriptor, end, changes)
        self._old_end, self._pages = end, {}

    def revert(self) -> None:
        """Forget the changes, and give back the space they took."""
        self._pages = {}
        os.ftruncate(self._descriptor, self._old_end)

    def _old_page(self, page: int) -> bytearray:
        size = min(_PAGE, self._old_end - page * _PAGE)
        return bytearray(os.pread(self._descriptor, size, page * _PAGE))


def settle(descriptor: int) -> None:
    """Write the first record of a new file: it is as it should be, and ends where it ends."""
    _write_at(descriptor, _record(os.fstat(descriptor).st_size, b""), 0)


def is_unfinished(descriptor: int) -> bool:
    """Whether a change of the file was interrupted when it had begun to take effect."""
    return _read_record(descriptor, _JOURNAL_PLACE) is not None


def recover(descriptor: int) -> None:
    """Finish an interrupted change, and cut off what one that never took effect has appended.

    The caller must hold the file's lock.

    Raises:
        OSError: the file cannot be written.
    """
    journal = _read_record(descriptor, _JOURNAL_PLACE)
    if journal:
        _finish(descriptor, *journal)
        return
    settled = _read_record(descriptor, 0)
    if settled and settled[0] < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, settled[0])


def open_locked(path: Path) -> int:
    """Open a file for writing with the lock that HDF5 uses too, and finish what a killed writer left undone.

    Returns:
        A file descriptor; closing it gives the lock back.

    Raises:
        BusyError: another process reads or writes it.
        FileError: it cannot be opened or written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise FileError(path, error) from error
    try:
        is_ours = _lock(descriptor, path)
        if is_ours:
            recover(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise FileError(path, error) from error
    if not is_ours:
        os.close(descriptor)
        raise BusyError(f"{path} is in use by another process", hint="wait until it has finished")
    return descriptor


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes out of a file.

    Raises:
        BusyError: another process reads or writes it.
        FileError: it cannot be opened.
    """
    descriptor = open_locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; False when another process has, or has put another file in its place meanwhile.

    A reader holds its lock for an instant only, while it opens the file: that is waited for.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return os.path.samestat(os.fstat(descriptor), path.stat())


def _finish(descriptor: int, end: int, changes: bytes) -> None:
    place = 0
    while place < len(changes):
        target, size = _CHANGE.unpack_from(changes, place)
        place += _CHANGE.size
        _write_at(descriptor, changes[place : place + size], target)
        place += size
    _write_at(descriptor, _record(end, b""), 0)
    _sync(descriptor)
    _write_at(descriptor, bytes(len(MAGIC)), _JOURNAL_PLACE)
    _sync(descriptor)  # before anything else is written: it must not be undone by finishing twice


def _record(end: int, changes: bytes) -> bytes:
    crc = zlib.crc32(changes, zlib.crc32(struct.pack("<QQ", end, len(changes))))
    return _RECORD.pack(MAGIC, end, len(changes), crc) + changes


def _read_record(descriptor: int, place: int) -> tuple[int, bytes] | None:
    """Return the end of the file and the changes of a whole record, None when there is none."""
    head = os.pread(descriptor, _RECORD.size, place)
    if len(head) < _RECORD.size or not head.startswith(MAGIC):
        return None
    _, end, size, crc = _RECORD.unpack(head)
    if size > HEAD_BYTES:
        return None
    changes = os.pread(descriptor, size, place + _RECORD.size)
    if len(changes) != size or zlib.crc32(changes, zlib.crc32(struct.pack("<QQ", end, size))) != crc:
        return None
    return end, changes


def _pages(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Split a half-open byte range at pages: the number of each, and the part of the range within it."""
    while start < end:
        stop = min(end, (start // _PAGE + 1) * _PAGE)
        yield start // _PAGE, start, stop
        start = stop


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def _sync(descriptor: int) -> None:
    with contextlib.suppress(AttributeError):
        os.fdatasync(descriptor)
        return
    os.fsync(descriptor)
