"""Make metadata updates of a file atomic with a write-ahead journal.

A library that rewrites its metadata in place, such as HDF5, works on an `Overlay`: appended data go to the
file at once, where nothing refers to them yet; changed pages are held in memory until `Overlay.commit`.
Readers take no lock: they read through an `Overlay` of the last complete journal, and again if `read_state`
has changed meanwhile.

    byte 0       4096         65536                        end (clean record)      end (journal)
    | clean      | journal    | data and HDF5 metadata     | appended              |
    | record     | record     |     [page 17]  [page 30]   |                       |

Example: adding a segment appends 1 MB and changes pages 17 and 30.

    step                                          state after a crash behind this step
    1. append 1 MB, sync                          old: `recover` truncates the file to the clean record's end
    2. write new pages 17 and 30 to the journal   old if the journal's CRC does not match, else new
    3. sync                                       new: `recover` repeats steps 4 to 7
    4. copy the pages to their positions          new
    5. write the clean record with the new end    new
    6. sync                                       new
    7. erase the journal, sync                    new: nothing to recover
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from vopcli.errors import BusyError, FileError
from vopcli.files.lock import try_lock

HEAD_BYTES: Final = 1 << 16  # reserved for this module at the head of a file

MAGIC: Final = b"vopjrnl\0"
# magic, generation, end of the file, number of bytes that follow, CRC-32 of these numbers and the bytes
_RECORD: Final = struct.Struct("<8sQQQI")
_NUMBERS: Final = struct.Struct("<QQQ")
_CHANGE: Final = struct.Struct("<QQ")  # offset, number of bytes
_JOURNAL_OFFSET: Final = 4096  # another page than the clean record's: a torn write damages one of them only
_PAGE: Final = 4096
_LOCK_TIMEOUT_SECONDS: Final = 0.3


class State(NamedTuple):
    """A complete update of a file.

    Attributes:
        generation: number of updates so far.
        end: end of the file in bytes.
        changes: offset, number of bytes and bytes of each change, until they are applied.
    """

    generation: int
    end: int
    changes: bytes


class Overlay(io.RawIOBase):
    """A file object that holds changes of existing data in memory until `commit`."""

    def __init__(self, descriptor: int, changes: bytes = b"") -> None:
        """Take an open file; ``changes`` are those of a `State` that may not be applied yet."""
        super().__init__()
        self._descriptor = descriptor
        self._old_end = os.fstat(descriptor).st_size
        self._position = 0
        self._pages: dict[int, bytearray] = {}  # changed pages by number
        self.error: OSError | None = None  # HDF5 cannot pass on an exception of `write`
        for target, data in _unpack(changes):
            self.seek(target)
            self.write(data)
        self.seek(0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
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
        """Read from the current position, changed pages included; return the number of bytes."""
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
        """Hold changes of existing data in memory; write appended data to the file."""
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
        """Extend the file; it is never made shorter than at the start."""
        end = max(self._old_end, self._position if size is None else size)
        try:
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            self.error = self.error or error
        return end

    def check(self) -> None:
        """Raise the error of an earlier write, which the library could not pass on.

        Raises:
            OSError: the disk is full or failed.
        """
        if self.error:
            raise self.error

    def commit(self) -> None:
        """Apply all changes atomically.

        Raises:
            OSError: the disk is full or failed, and no change is applied.
        """
        self.check()
        commit_changes(
            self._descriptor, ((page * _PAGE, bytes(held)) for page, held in sorted(self._pages.items()))
        )
        self._old_end, self._pages = os.fstat(self._descriptor).st_size, {}

    def revert(self) -> None:
        """Discard the changes and the appended data, unless `commit` got as far as a complete journal.

        The journal refers to appended data, and `recover` applies it.
        """
        self._pages = {}
        if _read_record(self._descriptor, _JOURNAL_OFFSET) is None:
            os.ftruncate(self._descriptor, self._old_end)

    def _old_page(self, page: int) -> bytearray:
        size = min(_PAGE, self._old_end - page * _PAGE)
        return bytearray(os.pread(self._descriptor, size, page * _PAGE))


def commit_changes(descriptor: int, changes: Iterable[tuple[int, bytes]]) -> None:
    """Change bytes of a locked file in one atomic step, after all earlier writes are on the disk.

    Args:
        descriptor: the open file.
        changes: offset and new bytes of each change; at most 60,000 bytes in all, with 16 more per change.

    Raises:
        OSError: the disk is full or failed, or there are too many changes; none is applied.
    """
    packed = b"".join(_CHANGE.pack(target, len(data)) + data for target, data in changes)
    _sync(descriptor)  # appended data must be durable before metadata refer to them
    clean = _read_record(descriptor, 0)
    state = State(clean.generation + 1 if clean else 1, os.fstat(descriptor).st_size, packed)
    journal = pack_record(state)
    if _JOURNAL_OFFSET + len(journal) > HEAD_BYTES:
        raise OSError(f"changes of {len(packed)} bytes do not fit into the journal")
    _write_at(descriptor, journal, _JOURNAL_OFFSET)
    _sync(descriptor)
    _apply(descriptor, state)


def write_clean_record(descriptor: int) -> None:
    """Record in a new file that it is complete, and where it ends."""
    _write_at(descriptor, pack_record(State(0, os.fstat(descriptor).st_size, b"")), 0)


def read_state(descriptor: int) -> State:
    """Return the last complete update, which may not be applied yet; zeros if the file has no record.

    Data read through an `Overlay` of its changes are consistent if the generation is the same afterwards.
    """
    return _read_record(descriptor, _JOURNAL_OFFSET) or _read_record(descriptor, 0) or State(0, 0, b"")


def recover(descriptor: int) -> None:
    """Apply a complete journal; without one, truncate data that an interrupted update appended.

    The caller must hold the file's lock.

    Raises:
        OSError: the file cannot be written.
    """
    journal = _read_record(descriptor, _JOURNAL_OFFSET)
    if journal:
        _apply(descriptor, journal)
        return
    clean = _read_record(descriptor, 0)
    if clean and clean.end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, clean.end)


def open_locked(path: Path) -> int:
    """Open a file for writing, lock it with HDF5's own kind of lock, and recover from a killed writer.

    Returns:
        A file descriptor; closing it releases the lock.

    Raises:
        BusyError: another process writes ``path``.
        FileError: ``path`` cannot be opened or written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise FileError(path, error) from error
    try:
        # a program that reads the file with HDF5 may hold the lock only while it opens it
        is_ours = try_lock(descriptor, path, timeout_seconds=_LOCK_TIMEOUT_SECONDS)
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
def locked(path: Path) -> Iterator[None]:
    """Lock a file against other processes within the block.

    Raises:
        BusyError: another process writes ``path``.
        FileError: ``path`` cannot be opened.
    """
    descriptor = open_locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _apply(descriptor: int, state: State) -> None:
    """Copy journaled changes to their offsets, update the clean record, and erase the journal."""
    for target, data in _unpack(state.changes):
        _write_at(descriptor, data, target)
    _write_at(descriptor, pack_record(state._replace(changes=b"")), 0)
    _sync(descriptor)
    _write_at(descriptor, bytes(len(MAGIC)), _JOURNAL_OFFSET)
    _sync(descriptor)  # before later writes, which applying the journal again would undo


def _unpack(changes: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(changes):
        target, size = _CHANGE.unpack_from(changes, place)
        place += _CHANGE.size
        yield target, changes[place : place + size]
        place += size


def pack_record(state: State) -> bytes:
    """Return the record of a state, protected by a CRC-32."""
    numbers = _NUMBERS.pack(state.generation, state.end, len(state.changes))
    return MAGIC + numbers + struct.pack("<I", zlib.crc32(state.changes, zlib.crc32(numbers))) + state.changes


def _read_record(descriptor: int, place: int) -> State | None:
    """Return the state of a record; None if it is missing or incomplete."""
    head = os.pread(descriptor, _RECORD.size, place)
    if len(head) < _RECORD.size or not head.startswith(MAGIC):
        return None
    _, generation, end, size, crc = _RECORD.unpack(head)
    if size > HEAD_BYTES:
        return None
    changes = os.pread(descriptor, size, place + _RECORD.size)
    numbers = _NUMBERS.pack(generation, end, size)
    if len(changes) != size or zlib.crc32(changes, zlib.crc32(numbers)) != crc:
        return None
    return State(generation, end, changes)


def _pages(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Split a half-open byte range at page bounds; yield page number, start and end of each part."""
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
