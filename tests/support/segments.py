"""Segmented files for tests, with made-up values."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from vopcli.files.hdf5 import FileFormat, SegmentFile
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file

ROW = np.dtype([("status", "u1"), ("number", "<i8"), ("digest", "u1", (5,)), ("error", "S20")])
FORMAT = FileFormat(
    "test-format", 3, {"rows": ROW, "names": np.dtype("u1"), "values": np.dtype("<f4")}, "make it again"
)
STATUS_FORMAT = FileFormat(
    "test-status", 1, {"status": np.dtype("u1"), "values": np.dtype("<i8")}, "make it again"
)
NUM_ROWS = 5


def rows_of(segment: int) -> np.ndarray:
    rows = np.zeros(NUM_ROWS, ROW)
    rows["number"] = np.arange(NUM_ROWS) + 100 * segment
    rows["digest"] = segment % 256
    rows["error"] = b"segment %d" % segment
    return rows


def values_of(segment: int) -> np.ndarray:
    return np.random.default_rng(segment).random((NUM_ROWS, 3, 7), dtype=np.float32)


def add(writer: SegmentWriter, number: int) -> None:
    filled = {"rows": rows_of(number), "names": np.frombuffer(b"name %d" % number, np.uint8)}
    segment = writer.add_segment({"number": number}, filled, {"values": (NUM_ROWS, 3, 7)})
    writer.write(segment, "values", 0, values_of(number))


def make(path: Path, num_segments: int) -> Path:
    create_segment_file(path, FORMAT, {"made": "for a test"})
    for number in range(num_segments):
        with SegmentWriter(path, FORMAT) as writer:
            add(writer, number)
    return path


def check(path: Path, num_segments: int) -> None:
    """Compare every value, through our reader and through plain h5py."""
    contents = SegmentFile.read(path, FORMAT)
    assert contents.attributes == {"made": "for a test"}
    assert len(contents.segments) == num_segments
    for number, segment in enumerate(contents.segments):
        assert segment.attributes == {"number": number}
        assert segment.map("names").tobytes() == b"name %d" % number
        np.testing.assert_array_equal(segment.map("rows"), rows_of(number))
        np.testing.assert_array_equal(segment.map("values"), values_of(number))
    with h5py.File(path) as file:
        for number in range(num_segments):
            group = file[f"segments/{number:06d}"]
            np.testing.assert_array_equal(group["rows"][...], rows_of(number))
            np.testing.assert_array_equal(group["values"][...], values_of(number))
