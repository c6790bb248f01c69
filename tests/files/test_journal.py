"""The journal: whatever call a crash comes after, a file has its old content or the new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.system_calls import replaced
from vopcli.errors import BusyError, FileError
from vopcli.files.journal import (
    HEAD_BYTES,
    Overlay,
    locked,
    open_locked,
    read_state,
    recover,
    write_clean_record,
)

OLD = bytes(range(256)) * 80  # five pages and a part of the next


class CrashError(Exception):
    """The process ends here."""


def make(path: Path) -> Path:
    path.write_bytes(bytes(HEAD_BYTES) + OLD)
    with path.open("rb+") as file:
        write_clean_record(file.fileno())
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()[HEAD_BYTES:]


CHANGES = {4090: b"across a page", 9000: b"within one", len(OLD) - 2: b"over the end"}
NEW = bytearray(OLD)
for place, replacement in CHANGES.items():
    NEW[place : place + len(replacement)] = replacement


def change(overlay: Overlay) -> None:
    """Change two pages and append."""
    for offset, data in CHANGES.items():
        overlay.seek(HEAD_BYTES + offset)
        overlay.write(data)


def test_changes_are_seen_through_the_overlay_and_take_effect_on_commit(tmp_path: Path) -> None:
    path = make(tmp_path / "file")
    with path.open("rb+") as file:
        overlay = Overlay(file.fileno())
        change(overlay)
        overlay.seek(HEAD_BYTES)
        assert overlay.read() == NEW
        assert content(path)[: len(OLD)] == OLD
        overlay.commit()
        assert content(path) == NEW
        assert not read_state(file.fileno()).changes


def test_reverted_changes_leave_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "file")
    before = path.read_bytes()
    with path.open("rb+") as file:
        overlay = Overlay(file.fileno())
        change(overlay)
        overlay.revert()
    assert path.read_bytes() == before


def test_a_complete_journal_is_not_reverted(tmp_path: Path) -> None:
    """An error while it is applied: the data that it refers to must stay for the next process."""
    path = make(tmp_path / "file")
    with path.open("rb+") as file:
        overlay = Overlay(file.fileno())
        change(overlay)
        calls = iter(range(2))  # the journal, and the first change; then the disk fails

        def fail(_: str, write: Callable[..., int]) -> Callable[..., int]:
            def failing(*arguments: object) -> int:
                if next(calls, None) is None:
                    raise OSError(errno.EIO, "the disk failed")
                return write(*arguments)

            return failing

        with pytest.raises(OSError, match="the disk failed"), replaced(fail, ["pwrite"]):
            overlay.commit()
        overlay.revert()
        recover(file.fileno())
    assert content(path) == NEW


@pytest.mark.parametrize("torn", [False, True], ids=["after a write", "within a write"])
def test_a_crash_at_any_write_leaves_the_old_content_or_the_new(tmp_path: Path, *, torn: bool) -> None:
    write_at: Callable[..., int] = os.pwrite
    outcomes = []
    for at in range(100):
        path = make(tmp_path / f"file{at}")
        calls = iter(range(at + 1))

        def crash(descriptor: int, data: bytes, offset: int, calls: object = calls) -> int:
            if next(calls, None) is None:  # type: ignore[call-overload]
                if torn:
                    write_at(descriptor, data[: len(data) // 2], offset)
                raise CrashError
            return write_at(descriptor, data, offset)

        with path.open("rb+") as file:
            overlay = Overlay(file.fileno())
            is_whole = False
            with suppress(CrashError), replaced(lambda *_, crash=crash: crash, ["pwrite"]):
                change(overlay)
                overlay.commit()
                is_whole = True
            recover(file.fileno())
            recover(file.fileno())  # a crash may follow a crash
            assert not read_state(file.fileno()).changes
        assert content(path) in {OLD, bytes(NEW)}
        outcomes.append(content(path) != OLD)
        if is_whole:
            break
    assert outcomes == sorted(outcomes)  # first the old content, from some write on the new one
    assert set(outcomes) == {False, True}
    assert len(outcomes) > 5


def test_a_lock_keeps_others_out(tmp_path: Path) -> None:
    path = make(tmp_path / "file")
    with locked(path), pytest.raises(BusyError, match="in use by another process"):
        open_locked(path)
    os.close(open_locked(path))
    with pytest.raises(FileError, match="does not exist"):
        open_locked(tmp_path / "none")
