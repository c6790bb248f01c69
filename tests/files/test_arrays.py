"""Checksums see each changed byte; file names of any bytes come back from one array."""

from __future__ import annotations

import os

import numpy as np
import pytest
import xxhash

from vopcli.files.arrays import checksum, distinct, is_in, pack_strings, row_checksums, unpack_string


def test_names_of_any_bytes() -> None:
    names = ["", "plain", "two\nlines", "naïve 🎬", os.fsdecode(b"\xff\xfe.mp4"), ""]
    packed, ranges = pack_strings(names)
    assert packed.tobytes() == b"".join(map(os.fsencode, names))
    assert [unpack_string(packed, *span) for span in ranges.tolist()] == names
    assert pack_strings([])[1].shape == (0, 2)
    for start, end in [(-1, 2), (3, 2), (0, len(packed) + 1)]:
        with pytest.raises(ValueError, match="lies outside"):
            unpack_string(packed, start, end)


def test_checksums_are_those_of_the_bytes_in_c_order() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    assert checksum(rows) == xxhash.xxh3_64_intdigest(rows.tobytes())
    assert checksum(rows[:, ::2], 7) == xxhash.xxh3_64_intdigest(rows[:, ::2].tobytes(), 7)
    assert row_checksums(rows).tolist() == [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]
    assert row_checksums(rows[:0]).tolist() == []


def test_distinct_values_and_membership_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    for count in (0, 1, 200):
        values = random.integers(-50, 50, count)
        np.testing.assert_array_equal(distinct(values), np.unique(values))
        other = random.integers(-80, 80, 300)
        np.testing.assert_array_equal(is_in(other, distinct(values)), np.isin(other, values))
