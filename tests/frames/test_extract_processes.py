"""Extraction in processes of its own: killed, interrupted, two at once, and on a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import REPOSITORY, contents, make_videos, run, start, vop, wait_for_frames
from tests.support.videos import make_video

COUNT = 16
OPTIONS = ("--size", "32", "--workers", "2", "--quiet")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("many"), COUNT)


@pytest.fixture(scope="session")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    store = tmp_path_factory.mktemp("undisturbed") / "out.h5"
    run(folder, store)
    return contents(store)


def assert_no_decoder_is_left(group: int) -> None:
    """Wait until no process of the group is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("decoding processes are left behind")


def test_killed_and_run_again_gives_what_an_undisturbed_run_gives(
    folder: Path, tmp_path: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    store = tmp_path / "out.h5"
    with start("extract-frames", folder, store, *OPTIONS) as process:
        wait_for_frames(store, process)
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert_no_decoder_is_left(process.pid)
    kept = contents(store)
    assert kept
    assert kept == {name: undisturbed[name] for name in kept}
    size = store.stat().st_size
    summary = run(folder, store)
    assert summary.num_unchanged == len(kept)
    assert summary.num_new == COUNT - len(kept)
    assert contents(store) == undisturbed
    assert store.stat().st_size < size + 50_000  # the room that was taken is used


@pytest.mark.slow
def test_killed_many_times_at_random_moments(
    folder: Path, tmp_path: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    random = np.random.default_rng(int(time.time()))
    for attempt in range(2):
        store = tmp_path / f"out-{attempt}.h5"
        for _ in range(3):
            with start("extract-frames", folder, store, *OPTIONS) as process:
                time.sleep(0.3 + random.random() * 1.2)
                process.kill()
                process.wait()
            if store.exists():
                kept = contents(store)
                assert kept == {name: undisturbed[name] for name in kept}
        code, _, err = vop("extract-frames", folder, store, *OPTIONS)
        assert (code, err) == (0, "")
        assert contents(store) == undisturbed
        store.unlink()


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    folder: Path, tmp_path: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    store = tmp_path / "out.h5"
    with start("extract-frames", folder, store, *OPTIONS) as process:
        wait_for_frames(store, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the decoders too
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err == "Interrupted. Finished videos are kept; run the same command to continue.\n"
    assert_no_decoder_is_left(process.pid)
    kept = contents(store)
    assert kept
    assert kept == {name: undisturbed[name] for name in kept}
    assert vop("extract-frames", folder, store, *OPTIONS)[0] == 0
    assert contents(store) == undisturbed


def test_of_two_writers_the_second_says_so_and_ends(
    folder: Path, tmp_path: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    store = tmp_path / "out.h5"
    with start("extract-frames", folder, store, *OPTIONS) as first:
        wait_for_frames(store, first)
        first.send_signal(signal.SIGSTOP)
        code, out, err = vop("extract-frames", folder, store, *OPTIONS)
        read_code, _, read_err = vop("info", store)
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=60) == 0
    assert (code, out) == (3, "")
    assert err == f"Error: {store} is in use by another process\nHint: wait until it has finished\n"
    assert (read_code, read_err) == (0, "")  # readers take no lock
    assert contents(store) == undisturbed


@pytest.mark.slow
def test_two_that_begin_at_once_leave_one_whole_store(
    folder: Path, tmp_path: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    store = tmp_path / "out.h5"
    with (
        start("extract-frames", folder, store, *OPTIONS) as first,
        start("extract-frames", folder, store, *OPTIONS) as second,
    ):
        said = [process.communicate(timeout=60)[1] for process in (first, second)]
    codes = sorted([first.returncode, second.returncode])
    assert codes in ([0, 0], [0, 3]), said
    assert contents(store) == undisturbed


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True)  # noqa: S607
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # noqa: S607


def test_a_disk_too_small_is_said_before_anything_is_written(folder: Path, small_disk: Path) -> None:
    code, out, err = vop("extract-frames", folder, small_disk / "out.h5", "--workers", "1", "--quiet")
    assert (code, out) == (3, "")
    assert "out.h5 needs 29 MB, and its disk has 13 MB left\nHint: free some space" in err
    assert list(small_disk.iterdir()) == []


def fill_up(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


@pytest.mark.slow
def test_a_disk_that_others_fill_up_meanwhile(
    folder: Path, small_disk: Path, undisturbed: dict[str, tuple[bytes, bytes]]
) -> None:
    """Its space was taken at the start, so a full disk does not stop a run."""
    store = small_disk / "out.h5"
    with start("extract-frames", folder, store, *OPTIONS) as process:
        wait_for_frames(store, process)
        fill_up(small_disk / "filler")
        assert shutil.disk_usage(small_disk).free == 0
        code = process.wait(timeout=60)
    assert code == 0
    assert contents(store) == undisturbed
    extra = store.parent.parent / "extra"
    extra.mkdir()
    make_video(extra / "extra.avi")
    code, _, err = vop("extract-frames", extra, store, *OPTIONS)
    assert code == 3
    assert "its disk has 0 MB left" in err
    assert contents(store) == undisturbed


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["vop", *sys.argv[2:]]
from vopcli.cli.app import main
main()
"""


def test_a_file_that_may_grow_no_further(folder: Path, tmp_path: Path) -> None:
    """The disk's refusal in the middle of the layout: an error, and no file, or the old one."""
    store = tmp_path / "out.h5"
    command = [sys.executable, "-c", LIMITED, "300000", "extract-frames", folder, store, *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 3
    assert done.stderr.startswith(f"Error: {store} cannot be used: {os.strerror(errno.EFBIG)}\n")
    assert not store.exists()
    assert run(folder / "0.avi", store).exit_code == 0
    before = store.read_bytes()
    assert subprocess.run(command, capture_output=True, cwd=REPOSITORY).returncode == 3
    assert store.read_bytes() == before


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from tests.support.extracting import run
from vopcli.errors import VopError
from vopcli.video.pool import decode_videos
import cv2
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    summary = run(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(summary.to_json()))
except VopError as error:
    print(error)
"""


def test_files_without_permission(folder: Path, tmp_path: Path) -> None:
    """A video that may not be read fails alone; a store that may not be written is an error."""
    place = open_to_others(tmp_path)
    for name in ("0.avi", "2.avi"):
        shutil.copyfile(folder / name, place / name)
    (place / "2.avi").chmod(0)
    (place / "out").mkdir()
    (place / "out").chmod(0o777)

    def run_as_nobody(store: Path) -> str:
        command = [sys.executable, "-c", AS_NOBODY, place, store]
        return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout

    summary = json.loads(run_as_nobody(place / "out" / "out.h5"))
    assert summary["num_new"] == 1
    (failed,) = summary["failed"]
    assert failed["video"] == "2.avi"
    assert "ermission denied" in failed["reason"]
    for file in (place / "locked.h5", place / "out" / "out.h5"):
        (place / "out" / "out.h5").chmod(0o000)
        place.chmod(0o555)
        said = run_as_nobody(file)
        assert said == f"{file} may not be opened: permission denied\n"
        place.chmod(0o755)


def open_to_others(folder: Path) -> Path:
    """Let other users into pytest's folder, which is its owner's alone."""
    for parent in [folder, *folder.parents]:
        parent.chmod(parent.stat().st_mode | 0o055)
        if parent.name.startswith("pytest-of"):
            break
    return folder
