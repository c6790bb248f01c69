from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.segments import FORMAT, NUM_ROWS, STATUS_FORMAT, add, check, make
from tests.support.system_calls import Call, replaced
from vopcli.errors import DataError, FileError
from vopcli.files.hdf5 import FileFormat, SegmentFile, read_format_name
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file
from vopcli.files.journal import HEAD_BYTES, State, pack_record


def test_many_segments_take_one_open_file(tmp_path: Path) -> None:
    contents = SegmentFile.read(make(tmp_path / "file.h5", 12), FORMAT)
    before = set(Path("/proc/self/fd").iterdir())
    held = [segment.map(name) for segment in contents.segments for name in segment.columns]
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert len(held) == 36


def test_a_reader_sees_what_a_killed_writer_had_journaled(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 2)
    before = path.read_bytes()
    with SegmentWriter(path, FORMAT) as writer:
        add(writer, 2)
    after = path.read_bytes()
    changed = [i for i in range(0, len(before), 4096) if before[i : i + 4096] != after[i : i + 4096]]
    changes = b"".join(struct.pack("<QQ", i, 4096) + after[i : i + 4096] for i in changed if i >= 65536)
    assert changes
    torn = bytearray(after)
    torn[: len(before)] = before  # the old tables, and the new segment behind them
    path.write_bytes(torn)
    check(path, 2)
    torn[4096 : 4096 + 36 + len(changes)] = pack_record(State(9, len(after), changes))
    path.write_bytes(torn)
    assert len(SegmentFile.read(path, FORMAT).segments) == 3
    assert path.read_bytes() == torn  # a reader changes nothing
    with SegmentWriter(path, FORMAT):
        pass
    check(path, 3)
    torn[4100] ^= 1  # a journal that did not arrive whole means nothing
    path.write_bytes(torn)
    check(path, 2)


# Bad files


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.h5 does not exist"):
        SegmentFile.read(tmp_path / "none.h5", FORMAT)
    with pytest.raises(FileError, match=r"none\.h5 does not exist"):
        SegmentWriter(tmp_path / "none.h5", FORMAT)
    with pytest.raises(FileError, match="is a folder"):
        SegmentFile.read(tmp_path, FORMAT)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", bytes(100_000), b"vopjrnl\0" * 9000]
)
def test_a_file_that_is_no_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.h5"
    path.write_bytes(content)
    for opening in (SegmentFile.read, SegmentWriter):
        with pytest.raises(DataError, match=r"file\.h5 (is not an HDF5 file|is truncated|cannot be read)"):
            opening(path, FORMAT)
    assert path.read_bytes() == content


def test_another_format_and_another_version(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 1)
    with pytest.raises(DataError, match="is a test-format file, not a other file"):
        SegmentFile.read(path, FileFormat("other", 3, FORMAT.columns, ""))
    with pytest.raises(DataError, match="has test-format version 3; this program reads 4"):
        SegmentWriter(path, FileFormat("test-format", 4, FORMAT.columns, ""))
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = np.arange(4)
    with pytest.raises(DataError, match="is an HDF5 file of another program"):
        SegmentFile.read(tmp_path / "plain.h5", FORMAT)
    assert read_format_name(path) == "test-format"
    assert read_format_name(tmp_path / "plain.h5") == ""


def test_a_file_cut_anywhere_opens_whole_or_not_at_all(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.h5", 3).read_bytes()
    path = tmp_path / "cut.h5"
    for size in range(0, len(whole), 331):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.h5"):
            SegmentFile.read(path, FORMAT)
        with pytest.raises(DataError, match=r"cut\.h5"):
            SegmentWriter(path, FORMAT)


@pytest.mark.slow
def test_flipped_bits_raise_no_other_error(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.h5", 3).read_bytes()
    path = tmp_path / "flipped.h5"
    random = np.random.default_rng(5)
    refused = 0
    for place in random.integers(HEAD_BYTES, len(whole), 400):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            for segment in SegmentFile.read(path, FORMAT).segments:
                for name in segment.columns:
                    segment.map(name).tobytes()
        except DataError:
            refused += 1
    assert refused > 20


def redirect(path: Path, how: str) -> None:
    """Put something else in place of the dataset of the first segment."""
    other = path.with_name("other")
    other.write_bytes(bytes(NUM_ROWS * 3 * 7 * 4))
    with h5py.File(path, "r+") as file:
        group, shape = file["segments/000000"], (NUM_ROWS, 3, 7)
        del group["values"]
        if how == "external link":
            group["values"] = h5py.ExternalLink(os.fspath(other), "/values")
        elif how == "soft link":
            group["values"] = h5py.SoftLink("/segments/000001/values")
        elif how == "external storage":
            group.create_dataset("values", shape, "<f4", external=[(os.fspath(other), 0, h5py.h5f.UNLIMITED)])
        elif how == "virtual dataset":
            layout = h5py.VirtualLayout(shape, "<f4")
            layout[:] = h5py.VirtualSource(os.fspath(other), "values", shape)
            group.create_virtual_dataset("values", layout)
        else:
            group["values"] = np.float32(1)


@pytest.mark.parametrize(
    "how", ["external link", "soft link", "external storage", "virtual dataset", "single value"]
)
def test_data_of_other_files_is_refused_by_name(tmp_path: Path, how: str) -> None:
    path = make(tmp_path / "file.h5", 2)
    redirect(path, how)
    with pytest.raises(DataError, match=rf"file\.h5 is damaged: /segments/000000/values .*{how}"):
        SegmentFile.read(path, FORMAT)


def test_a_group_in_another_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "file.h5", 1)
    with h5py.File(path, "r+") as file:
        del file["segments"]
        file["segments"] = h5py.ExternalLink("other.h5", "/segments")
    with pytest.raises(DataError, match=r"/segments is an external link"):
        SegmentFile.read(path, FORMAT)


@pytest.mark.parametrize("attributes", ["[]", "{", '"x"', "[" * 60_000])
def test_bad_attributes_are_damage(tmp_path: Path, attributes: str) -> None:
    path = make(tmp_path / "file.h5", 1)
    for value in (attributes, np.bytes_(attributes)):
        with h5py.File(path, "r+") as file:
            file.attrs["attributes"] = value
        with pytest.raises(DataError, match=r"file\.h5 is damaged"):
            SegmentFile.read(path, FORMAT)


def test_any_flipped_bit_of_a_tensor_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    tensor = np.arange(30, dtype=np.float32).reshape(5, 6)
    create_segment_file(path, FORMAT, {}, {"one": tensor, "two": tensor + 1})
    whole = path.read_bytes()
    place = whole.index((tensor + 1).tobytes())
    for offset in range(place, place + tensor.nbytes):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged: two does not match its checksum"):
            SegmentFile.read(path, FORMAT).map_tensors()
    path.write_bytes(whole)
    assert set(SegmentFile.read(path, FORMAT).map_tensors()) == {"one", "two"}


def test_a_missing_tensor_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    create_segment_file(path, FORMAT, {}, {"one": np.ones(3, np.float32)})
    with h5py.File(path, "r+") as file:
        del file["tensors/one"]
    with pytest.raises(DataError, match="one does not match"):
        SegmentFile.read(path, FORMAT).map_tensors()


# Changes files, named on its input: another row of a value begins to count in place of the first one.
CHANGE = """
import os
import sys
from pathlib import Path
import numpy as np
from tests.support.segments import STATUS_FORMAT
from vopcli.files.hdf5_writer import SegmentWriter

os.fdatasync = lambda _: None  # slow
for line in sys.stdin:
    with SegmentWriter(Path(line.strip()), STATUS_FORMAT) as writer:
        first, second = writer.contents.segments
        if sys.argv[1] == "of a new segment":
            second = writer.add_segment({}, {"status": np.zeros(4, np.uint8), "values": np.arange(4)}, {})
        writer.write_statuses([(first, 0, ord("R")), (second, 0, ord("D"))])
    print(flush=True)
"""


@pytest.mark.parametrize("row", ["of a new segment", "of an old one"])
def test_a_reader_sees_the_state_before_a_change_or_after_it(tmp_path: Path, row: str) -> None:
    """Another process changes the file before one of the reader's calls, each in its turn."""
    create_segment_file(tmp_path / "before.h5", STATUS_FORMAT, {})
    with SegmentWriter(tmp_path / "before.h5", STATUS_FORMAT) as writer:
        for statuses in (b"DRDR", b"RDRD"):
            filled = {"status": np.frombuffer(statuses, np.uint8), "values": np.arange(4)}
            writer.add_segment({}, filled, {})
    path, before, seen = tmp_path / "file.h5", (tmp_path / "before.h5").read_bytes(), []
    command = [sys.executable, "-c", CHANGE, row]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout
        for at in itertools.count():
            path.write_bytes(before)
            calls = itertools.count()

            def change(_: str, read: Call, at: int = at, calls: Iterator[int] = calls) -> Call:
                def changing(*arguments: object) -> object:
                    if next(calls) == at:
                        stdin.write(os.fsencode(path) + b"\n")
                        stdin.flush()
                        assert stdout.readline() == b"\n"
                    return read(*arguments)

                return changing

            with replaced(change, ["pread"]):
                segments = SegmentFile.read(path, STATUS_FORMAT).segments
            done = [i for segment in segments for i in np.flatnonzero(segment.status == ord("D")).tolist()]
            assert sorted(done) == [0, 1, 2, 3]
            if next(calls) <= at:  # the reader made fewer calls
                break
            seen.append(segments[0].status[0] == ord("R"))
        stdin.close()
    assert process.returncode == 0
    assert seen == sorted(seen, reverse=True)  # the last changes come too late to be seen
    assert set(seen) == {False, True}
