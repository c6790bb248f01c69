"""Atomic writes and replacements: a killed writer leaves the old file or folder, or the new one."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.system_calls import replaced
from vopcli.errors import BusyError, FileError
from vopcli.files.atomic import (
    atomic_path,
    beside,
    hash_file,
    note_unfinished,
    replace_file,
    replace_folder,
    restore,
)
from vopcli.progress import SilentProgress


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def run_killed(code: str, *arguments: str | Path) -> None:
    """Run code that waits in the midst of its work, and kill it there."""
    imports = "import sys, time; from pathlib import Path; from vopcli.files.atomic import *"
    imports += "; from vopcli.progress import SilentProgress as Silent"
    command = [sys.executable, "-c", f"{imports}\n{code}", *map(os.fspath, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGKILL)


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


@pytest.mark.parametrize("is_new", [False, True])
def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, *, is_new: bool) -> None:
    """After a power cut, the name must not stand for a file whose content never reached the disk."""
    path = tmp_path / "file"
    before = None if is_new else b"old"
    if before:
        path.write_bytes(before)
    synced: dict[int, tuple[bytes, bytes | None]] = {}

    def noted(_: str, sync: Callable[[int], None]) -> Callable[[int], None]:
        def noted_sync(descriptor: int) -> None:
            held = path.read_bytes() if path.exists() else None
            synced[os.fstat(descriptor).st_ino] = (os.pread(descriptor, 9, 0), held)
            sync(descriptor)

        return noted_sync

    with replaced(noted, ["fsync"]), atomic_path(path, is_new=is_new) as temporary:
        temporary.write_bytes(b"new")
    assert synced == {path.stat().st_ino: (b"new", before)}


WRITE_AND_WAIT = """
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("waiting", flush=True)
    time.sleep(60)
"""


def test_leftovers_of_a_killed_writer_are_removed_by_the_next_one(tmp_path: Path) -> None:
    target, other = tmp_path / "a[1].bin", tmp_path / "a[1].bin.more"
    mine = [tmp_path / ".a[1].bin.part", tmp_path / ".a[1].bin.holiday.part", tmp_path / "a[1].bin.part"]
    for path in mine:
        path.write_bytes(b"mine")
    run_killed(WRITE_AND_WAIT, target)
    run_killed(WRITE_AND_WAIT, other)
    (tmp_path / ".a[1].bin.4711.rewrite.part").write_bytes(b"of an index")
    leftovers = set(tmp_path.iterdir()) - set(mine)
    assert len(leftovers) == 3
    with atomic_path(target) as first, atomic_path(target) as second:  # the first one's writer lives
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"
    left = set(tmp_path.iterdir()) - {*mine, target}
    assert left < leftovers
    assert [path.name.startswith(".a[1].bin.more.") for path in left] == [True]
    with atomic_path(other) as temporary:
        temporary.write_bytes(b"whole")
    assert set(tmp_path.iterdir()) == {*mine, target, other}


def test_an_interrupted_replacement_is_continued(tmp_path: Path) -> None:
    target, progress = tmp_path / "file.bin", Notes()
    target.write_bytes(b"old")
    target.chmod(0o604)

    def build(*, fails: bool) -> None:
        with beside(target, progress) as new:
            with new.open("ab") as file:
                file.write(b"part ")
            if fails:
                raise KeyboardInterrupt
            replace_file(new, target)

    with pytest.raises(KeyboardInterrupt):
        build(fails=True)
    assert progress.notes.pop() == f"{target} is unchanged; run the same command to finish"
    assert target.read_bytes() == b"old"
    note_unfinished(target, progress)
    (told,) = progress.notes
    assert told.startswith(f"{tmp_path / '.file.bin.overwrite'} holds an interrupted --overwrite")
    build(fails=False)
    assert target.read_bytes() == b"part part "
    assert target.stat().st_mode & 0o777 == 0o604
    assert list(tmp_path.iterdir()) == [target]
    note_unfinished(target, progress)
    assert len(progress.notes) == 1


def test_nothing_is_kept_of_a_replacement_that_was_not_begun(tmp_path: Path) -> None:
    progress = Notes()
    with pytest.raises(FileError, match="disk is full"), beside(tmp_path / "file", progress):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (list(tmp_path.iterdir()), progress.notes) == ([], [])


def test_one_process_replaces_at_a_time(tmp_path: Path) -> None:
    target, silent = tmp_path / "file", SilentProgress()
    with (
        beside(target, silent),
        pytest.raises(BusyError, match="file is being replaced by another process"),
        beside(target, silent),
    ):
        pass


KILLED_BETWEEN = """
real, path = Path.rename, Path(sys.argv[1])
def rename(one, other):
    if one.parent != path.parent:
        print("waiting", flush=True)
        time.sleep(60)
    real(one, other)
Path.rename = rename
with beside(path, Silent()) as new:
    new.mkdir()
    (new / "content").write_text("new")
    replace_folder(new, path)
"""


@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_is_restored_whose_replacement_was_killed_between_two_renames(
    tmp_path: Path, *, is_link: bool
) -> None:
    folder, progress = tmp_path / "run", SilentProgress()
    old = tmp_path / "elsewhere" if is_link else folder
    old.mkdir()
    (old / "content").write_text("old")
    if is_link:
        folder.symlink_to(old)
    restore(folder)
    run_killed(KILLED_BETWEEN, folder)
    assert not folder.exists()
    restore(folder)
    assert (folder / "content").read_text() == "old"
    assert folder.is_symlink() == is_link
    with beside(folder, progress) as new:
        assert (new / "content").read_text() == "new"
        restore(folder)  # has no effect on a live replacement
        replace_folder(new, folder)
    assert (folder / "content").read_text() == "new"
    assert not folder.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == (["elsewhere", "run"] if is_link else ["run"])
    assert not is_link or (old / "content").read_text() == "old"


def test_hash_file(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(os.fspath(tmp_path / "file")) == hashlib.sha256(content).digest()
