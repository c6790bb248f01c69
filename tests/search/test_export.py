"""Exported embeddings: the same numbers in the same order as the index, read back by NumPy and pyarrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from tests.support.indexes import META, WIDTH, add_film, make_index
from vopcli.errors import DataError, FileError, UsageError
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.export import export_embeddings

NAMES = [f"{number}.mp4" for number in range(5)]


@pytest.fixture
def index(tmp_path: Path) -> VideoIndex:
    """Two segments; of the first one a video is removed."""
    path = tmp_path / "idx.h5"
    make_index(path, NAMES[:3])
    make_index(path, NAMES[3:], seed=1)
    with IndexWriter(path) as writer:
        writer.remove([1])
    return VideoIndex(path)


def test_a_npy_file_has_the_embeddings_in_the_order_of_the_index(index: VideoIndex, tmp_path: Path) -> None:
    export_embeddings(index, tmp_path / "out.npy")
    found = np.load(tmp_path / "out.npy")
    assert (found.dtype, found.shape) == (np.float32, (4, WIDTH))
    assert np.array_equal(found, [index.embedding_of(video.row) for video in index.videos()])


def test_windows_are_not_exported(tmp_path: Path) -> None:
    create_index(tmp_path / "w.h5", META)
    add_film(tmp_path / "w.h5", matching=0, windows=range(4), is_whole=True)
    index = VideoIndex(tmp_path / "w.h5")
    [video] = index.videos()
    for name in ("out.npy", "out.parquet"):
        export_embeddings(index, tmp_path / name)
    assert np.array_equal(np.load(tmp_path / "out.npy"), [index.embedding_of(video.row)])
    assert len(parquet.read_table(tmp_path / "out.parquet")) == 1


def test_a_parquet_file_has_names_and_embeddings(index: VideoIndex, tmp_path: Path) -> None:
    export_embeddings(index, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    videos = list(index.videos())
    assert table.column("path").to_pylist() == [video.path for video in videos] == ["0.mp4", *NAMES[2:]]
    assert table.column("file").to_pylist() == [str(video.file) for video in videos]
    assert table.column("duration_seconds").to_pylist() == [3.25] * 4
    rows = np.array(table.column("embedding").to_pylist(), np.float32)
    assert np.array_equal(rows, [index.embedding_of(video.row) for video in videos])


def test_names_that_are_not_utf8_are_replaced_in_parquet(tmp_path: Path) -> None:
    make_index(tmp_path / "idx.h5", ["caf\udce9.mp4"])
    export_embeddings(VideoIndex(tmp_path / "idx.h5"), tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("path").to_pylist() == ["caf\ufffd.mp4"]


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_an_empty_index(tmp_path: Path, suffix: str) -> None:
    create_index(tmp_path / "idx.h5", IndexMeta("w", "ab" * 32, {}, WIDTH))
    target = tmp_path / f"out.{suffix}"
    export_embeddings(VideoIndex(tmp_path / "idx.h5"), target)
    count = len(np.load(target)) if suffix == "npy" else parquet.read_table(target).num_rows
    assert count == 0


def test_other_suffixes_and_folders_that_do_not_exist_are_refused(index: VideoIndex, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot export to .*out\.csv"):
        export_embeddings(index, tmp_path / "out.csv")
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"out\.npy"):
        export_embeddings(index, tmp_path / "file" / "out.npy")


def test_an_export_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    make_index(tmp_path / "idx.h5", NAMES)
    index, target = VideoIndex(tmp_path / "idx.h5"), tmp_path / "out.parquet"
    export_embeddings(index, target)
    before = target.read_bytes()
    index.video = lambda row: (_ for _ in ()).throw(DataError("row is damaged", hint=""))  # type: ignore[method-assign]
    with pytest.raises(DataError):
        export_embeddings(index, target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["idx.h5", "out.parquet"]


def test_without_pyarrow_the_extra_is_named(index: VideoIndex, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.modules["pyarrow"] = None
from vopcli.index.reader import VideoIndex
from vopcli.search.export import export_embeddings
export_embeddings(VideoIndex(Path({str(index.path)!r})), Path({str(tmp_path / "out.parquet")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError: Parquet export needs pyarrow" in done.stderr
    assert not (tmp_path / "out.parquet").exists()
