"""What an index says of itself is checked before anything is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.indexes import (
    META,
    NAMES,
    WIDTH,
    make_index,
)
from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import create_index


def test_attributes_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "pooling.h5"
    create_index(path, replace(META, pooling="max"))
    with pytest.raises(DataError, match="pooling 'max'"):
        VideoIndex(path)
    path = tmp_path / "width.h5"
    create_index(path, replace(META, embed_dim=WIDTH))
    make_index(path, NAMES)
    with h5py.File(path, "r+") as file:
        attributes = file.attrs["attributes"].decode().replace(f'"embed_dim": {WIDTH}', '"embed_dim": 39')
        file.attrs["attributes"] = np.bytes_(attributes)
    with pytest.raises(DataError, match="shape"):
        VideoIndex(path)
    with h5py.File(path, "r+") as file:
        file.attrs["attributes"] = np.bytes_("{}")
    with pytest.raises(DataError, match="does not name the model"):
        VideoIndex(path)
