"""A file written aside appears whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from vopcli.errors import FileError
from vopcli.files.atomic import atomic_path


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_path(target) as aside:
        aside.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(target) as aside:
            aside.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_follows_the_umask_and_a_replaced_file(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    before = os.umask(0o027)
    try:
        with atomic_path(target) as aside:
            aside.write_bytes(b"1")
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o640
    target.chmod(0o604)
    with atomic_path(target) as aside:
        aside.write_bytes(b"2")
    assert target.stat().st_mode & 0o777 == 0o604


def test_system_errors_name_the_file_and_the_reason(tmp_path: Path) -> None:
    blocked = tmp_path / "file" / "below.bin"
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(FileError, match=r"below\.bin lies below something that is not a folder"),
        atomic_path(blocked),
    ):
        pass
    with pytest.raises(FileError, match="disk is full") as caught, atomic_path(tmp_path / "full.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "free some space" in caught.value.hint
    assert not (tmp_path / "full.bin").exists()


def test_the_content_is_on_the_disk_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, the name must not stand for a file whose content never reached the disk."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    synced: dict[int, tuple[bytes, bytes]] = {}
    sync = os.fsync

    def noted_sync(descriptor: int) -> None:
        synced[os.fstat(descriptor).st_ino] = (os.pread(descriptor, 9, 0), path.read_bytes())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted_sync)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
    assert synced == {path.stat().st_ino: (b"new", b"old")}
