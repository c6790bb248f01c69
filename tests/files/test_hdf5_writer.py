from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.segments import FORMAT, NUM_ROWS, ROW, STATUS_FORMAT, add, check, make, rows_of, values_of
from tests.support.system_calls import Call, Killer, replaced, without_sync
from vopcli.errors import BusyError, FileError
from vopcli.files.hdf5 import SegmentFile, read_format_name
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file


def test_what_is_written_is_read_back_segment_by_segment(tmp_path: Path) -> None:
    check(make(tmp_path / "file.h5", 40), 40)  # enough for the tables of HDF5 to split twice


def test_several_segments_of_one_writer(tmp_path: Path) -> None:
    create_segment_file(tmp_path / "file.h5", FORMAT, {"made": "for a test"})
    with SegmentWriter(tmp_path / "file.h5", FORMAT) as writer:
        for number in range(12):
            add(writer, number)
    check(tmp_path / "file.h5", 12)


def test_empty_columns(tmp_path: Path) -> None:
    create_segment_file(tmp_path / "file.h5", FORMAT, {})
    with SegmentWriter(tmp_path / "file.h5", FORMAT) as writer:
        filled = {"rows": np.zeros(0, ROW), "names": np.frombuffer(b"abc", np.uint8)}
        writer.add_segment({}, filled, {"values": (0, 3, 7)})
    segment = SegmentFile.read(tmp_path / "file.h5", FORMAT).segments[0]
    assert segment.map("values").shape == (0, 3, 7)
    assert segment.map("rows").shape == (0,)
    assert segment.map("names").tobytes() == b"abc"


def test_write_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with SegmentWriter(make(tmp_path / "file.h5", 1), FORMAT) as writer:
        segment = writer.contents.segments[0]
        for values, row in [
            (np.zeros((1, 3, 7), np.float64), 0),
            (np.zeros((1, 7, 3), np.float32), 0),
            (np.zeros((2, 3, 7), np.float32), NUM_ROWS - 1),
        ]:
            with pytest.raises(ValueError, match="does not fit values"):
                writer.write(segment, "values", row, values)
    check(tmp_path / "file.h5", 1)


def crash_at(calls: Iterator[int]) -> Callable[[str, Call], Call]:
    """Let as many writes pass as there are ``calls``, and raise at the next."""

    def crashing(_name: str, write: Call) -> Call:
        def counted(*arguments: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return write(*arguments)

        return counted

    return crashing


def test_the_statuses_of_a_long_film_change_in_one_step(tmp_path: Path) -> None:
    """As when a film of many windows gets another name: new rows count, and older ones no longer."""
    path, num_rows = tmp_path / "file.h5", 9000
    create_segment_file(path, STATUS_FORMAT, {})
    with SegmentWriter(path, STATUS_FORMAT) as writer:
        for status in (1, 0):
            filled = {"status": np.full(num_rows, status, np.uint8), "values": np.zeros(num_rows, np.int64)}
            writer.add_segment({}, filled, {})
    base, outcomes = path.read_bytes(), []
    for at in range(20):
        path.write_bytes(base)
        with SegmentWriter(path, STATUS_FORMAT) as writer:
            old, new = writer.contents.segments
            statuses = [(new, row, 1) for row in range(num_rows)] + [(old, row, 2) for row in range(num_rows)]
            with contextlib.suppress(KeyboardInterrupt), replaced(crash_at(iter(range(at))), ["pwrite"]):
                writer.write_statuses(statuses)
        with SegmentWriter(path, STATUS_FORMAT) as writer:  # repeats or drops what was interrupted
            kinds = [np.unique(segment.status).tolist() for segment in writer.contents.segments]
        assert kinds in ([[1], [0]], [[2], [1]])
        outcomes.append(kinds == [[2], [1]])
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_more_changes_than_the_journal_holds_are_several_steps(tmp_path: Path) -> None:
    path, num_rows = tmp_path / "file.h5", 20_000
    create_segment_file(path, STATUS_FORMAT, {})
    with SegmentWriter(path, STATUS_FORMAT) as writer:
        empty = np.zeros(num_rows, np.int64)
        segment = writer.add_segment({}, {"status": empty.astype(np.uint8), "values": empty}, {})
        rows = [*range(0, num_rows, 2), *range(num_rows - 1, 0, -4)]
        writer.write_statuses([(segment, row, 1 + row % 7) for row in rows])
        expected = np.zeros(num_rows, np.uint8)
        expected[rows] = [1 + row % 7 for row in rows]
        np.testing.assert_array_equal(segment.status, expected)
    np.testing.assert_array_equal(SegmentFile.read(path, STATUS_FORMAT).segments[0].status, expected)


# Kill -9


@pytest.mark.parametrize(  # HDF5 rearranges its tables after eight entries
    ("num_segments", "by_half"),
    [(0, True), (8, True)]
    + [
        pytest.param(*case, marks=pytest.mark.slow)
        for case in [(0, False), (8, False), (1, True), (16, True)]
    ],
)
@replaced(without_sync, ["fdatasync"])
def test_a_kill_at_any_write_leaves_the_old_file_or_the_new(
    tmp_path: Path, num_segments: int, *, by_half: bool
) -> None:
    base = make(tmp_path / "base.h5", num_segments).read_bytes()
    path = tmp_path / "file.h5"
    outcomes = set()
    for at in range(100):
        path.write_bytes(base)
        child = os.fork()
        if child == 0:
            with replaced(Killer(at, by_half=by_half)), SegmentWriter(path, FORMAT) as writer:
                add(writer, num_segments)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        count = len(SegmentFile.read(path, FORMAT).segments)
        outcomes.add(count - num_segments)
        check_all_but_last_values(path, count, num_segments)
        if count == num_segments:  # it goes on as if nothing had happened
            with SegmentWriter(path, FORMAT) as writer:
                add(writer, num_segments)
            check(path, num_segments + 1)
    assert at > 10
    assert outcomes == {0, 1}
    check(path, num_segments + 1)


def check_all_but_last_values(path: Path, count: int, num_whole: int) -> None:
    for number, segment in enumerate(SegmentFile.read(path, FORMAT).segments[:count]):
        np.testing.assert_array_equal(segment.map("rows"), rows_of(number))
        if number < num_whole:
            np.testing.assert_array_equal(segment.map("values"), values_of(number))


WRITE_FOREVER = """
import sys
from pathlib import Path
from tests.support.segments import FORMAT, SegmentWriter, add
path = Path(sys.argv[1])
for number in range(int(sys.argv[2]), 10_000):
    with SegmentWriter(path, FORMAT) as writer:
        add(writer, number)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 0)
    random = np.random.default_rng(int(time.time()))
    done = 0
    for _ in range(8):
        command = [sys.executable, "-c", WRITE_FOREVER, os.fspath(path), str(done)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.random() * 0.3)
            process.kill()
        found = len(SegmentFile.read(path, FORMAT).segments)
        assert found > done
        check_all_but_last_values(path, found, found - 1)
        with SegmentWriter(path, FORMAT) as writer:
            last = writer.contents.segments[-1]
            writer.write(last, "values", 0, values_of(found - 1))
        done = found
        check(path, done)


def test_what_a_killed_writer_appended_in_vain_is_cut_off(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 2)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"x" * 5_000_000)
    with SegmentWriter(path, FORMAT) as writer:
        assert writer.num_bytes == size
        add(writer, 2)
    check(path, 3)
    assert path.stat().st_size < size + 10_000


# Two processes


def test_a_writer_waits_for_a_reader_that_is_just_opening(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 1)
    reader = h5py.File(path, "r")
    threading.Timer(0.1, reader.close).start()
    with SegmentWriter(path, FORMAT) as writer:
        add(writer, 1)
    check(path, 2)


def test_a_second_writer_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 1)
    with SegmentWriter(path, FORMAT) as writer:
        with pytest.raises(BusyError, match=r"file\.h5 is in use by another process"):
            SegmentWriter(path, FORMAT)
        assert len(SegmentFile.read(path, FORMAT).segments) == 1
        assert read_format_name(path) == "test-format"
        add(writer, 1)
    check(path, 2)


def test_a_writer_does_not_disturb_a_reader_of_another_program(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 1)
    with h5py.File(path, "r"), pytest.raises(BusyError, match="in use"):
        SegmentWriter(path, FORMAT)
    check(path, 1)


def test_a_file_is_made_by_one_process_only(tmp_path: Path) -> None:
    make(tmp_path / "file.h5", 1)
    with pytest.raises(FileError, match="exists already"):
        create_segment_file(tmp_path / "file.h5", FORMAT, {})
    check(tmp_path / "file.h5", 1)
    assert [item.name for item in tmp_path.iterdir()] == ["file.h5"]


# No room


@pytest.mark.parametrize("failing", ["pwrite", "ftruncate", "posix_fallocate", "fdatasync"])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, failing: str) -> None:
    path = make(tmp_path / "file.h5", 3)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with SegmentWriter(path, FORMAT) as writer:
        with (
            replaced(lambda *_: full, [failing]),
            pytest.raises(FileError, match=r"file\.h5 cannot be written: the disk is full"),
        ):
            add(writer, 3)
        if failing != "ftruncate":
            assert path.read_bytes() == before
        add(writer, 3)  # the same writer goes on when there is room again
    check(path, 4)
