"""Export the video embeddings of an index for other programs: NumPy arrays and Parquet tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vopcli.errors import UsageError
from vopcli.files.atomic import atomic_path
from vopcli.index.reader import VideoIndex
from vopcli.resources import cache_folder

if TYPE_CHECKING:
    import pyarrow

_ROWS: Final = 4096  # of a row group: bounds the memory


def export_embeddings(index: VideoIndex, target: Path) -> None:
    """Write one row per video, in the order in which the index is iterated.

    `.npy` gets the embeddings alone, (N, E) float32. `.parquet` gets the columns path, file,
    duration_seconds and embedding, and needs the extra `parquet`.

    Raises:
        UsageError: the suffix of `target` is neither, or pyarrow is not installed.
        FileError: `target` cannot be written.
        DataError: the index is damaged.
    """
    writers = {".npy": _write_npy, ".parquet": _write_parquet}
    if target.suffix not in writers:
        raise UsageError(f"cannot export to {target}", hint="name a file that ends in .npy or .parquet")
    index.verify_once("embeddings", cache_folder())
    with atomic_path(target) as temporary:
        writers[target.suffix](index, temporary)


def _write_npy(index: VideoIndex, path: Path) -> None:
    shape = (len(index), index.meta.embed_dim)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for embeddings, is_video in zip(index.embeddings, index.is_video, strict=True):
            for begin in range(0, len(is_video), _ROWS):
                rows = slice(begin, begin + _ROWS)
                file.write(embeddings[rows][is_video[rows]].astype("<f4", copy=False).tobytes())


def _write_parquet(index: VideoIndex, path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet export needs pyarrow", hint="pip install 'vopcli[parquet]'") from error
    width = index.meta.embed_dim
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("file", pyarrow.string()),
            ("duration_seconds", pyarrow.float64()),
            ("embedding", pyarrow.list_(pyarrow.float32(), width)),
        ]
    )
    rows = [video.row for video in index.videos()]
    with parquet.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(rows), _ROWS):
            writer.write_table(_table(index, rows[begin : begin + _ROWS], schema))


def _table(index: VideoIndex, rows: list[int], schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow

    videos = [index.video(row) for row in rows]
    flat = np.concatenate([index.embedding_of(row) for row in rows])  # (n * E,)
    return pyarrow.table(
        {
            "path": [_to_text(video.path) for video in videos],
            "file": [_to_text(str(video.file)) for video in videos],
            "duration_seconds": [video.duration_seconds for video in videos],
            "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, index.meta.embed_dim),
        },
        schema=schema,
    )


def _to_text(name: str) -> str:
    """Replace the bytes of a file name that are not UTF-8: Parquet has no other text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
