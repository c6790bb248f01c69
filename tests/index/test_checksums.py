"""Each part of a row, and each text it refers to, changes its checksum."""

from __future__ import annotations

import numpy as np

from vopcli.index.checksums import frames_checksum, name_hash, row_checksum
from vopcli.index.reader import INDEX_ROW


def test_every_field_and_text_counts_but_not_the_checksum_itself() -> None:
    row = np.zeros(1, INDEX_ROW)[0]
    found = {row_checksum(row, *texts) for texts in (("a", "b"), ("a", "c"), ("b", "b"), ("a", "b", "c"))}
    for name in INDEX_ROW.names[:-1]:
        changed = row.copy()
        changed[name] = 1
        found.add(row_checksum(changed, "a", "b"))
    assert len(found) == 4 + len(INDEX_ROW.names) - 1
    row["row_checksum"] = 9
    assert row_checksum(row, "a", "b") in found


def test_frames_and_times_and_names_are_told_apart() -> None:
    frames, seconds = np.ones((2, 3), np.float16), np.arange(2.0)
    sums = {
        frames_checksum(frames, seconds),
        frames_checksum(frames * 2, seconds),
        frames_checksum(frames, -seconds),
    }
    assert len(sums) == 3
    assert name_hash("a/b", "c") != name_hash("b", "c/a")
