"""File names of any bytes come back from one array."""

from __future__ import annotations

import os

import pytest

from vopcli.files.packed_strings import pack_strings, unpack_string


def test_names_of_any_bytes() -> None:
    names = ["", "plain", "two\nlines", "naïve 🎬", os.fsdecode(b"\xff\xfe.mp4"), ""]
    packed, ranges = pack_strings(names)
    assert packed.tobytes() == b"".join(map(os.fsencode, names))
    assert [unpack_string(packed, *span) for span in ranges.tolist()] == names
    assert pack_strings([])[1].shape == (0, 2)
    for start, end in [(-1, 2), (3, 2), (0, len(packed) + 1)]:
        with pytest.raises(ValueError, match="lies outside"):
            unpack_string(packed, start, end)
