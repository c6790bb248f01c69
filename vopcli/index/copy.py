"""Copy an index, such as one in a search engine, to an HDF5 file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from vopcli.errors import DataError
from vopcli.files.atomic import atomic_path, refuse_existing
from vopcli.files.hdf5 import may_replace
from vopcli.index.reader import BANK, INDEX_FORMAT, IndexedVideo, VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import Progress

_AT_ONCE = 1024  # rows


def copy_to_file(source: VideoIndex, path: Path, progress: Progress, *, overwrite: bool = False) -> int:
    """Write the rows of an index, its adapter and query bank to a file; return the number of rows.

    Args:
        source: the index.
        path: the file.
        progress: shows the rows.
        overwrite: replace an existing index.

    Raises:
        DataError: the source is damaged, or `path` is not an index.
        FileError: `path` exists and `overwrite` is not set, or it cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    if path.exists() and not may_replace(path, INDEX_FORMAT):
        raise DataError(f"{path} is not an index and is not overwritten", hint="name another file")
    bank = {BANK + name: tensor for name, tensor in source.bank_tensors.items()}
    videos = list(map(source.video, source.rows()))
    with atomic_path(path) as temporary:
        temporary.unlink()
        create_index(temporary, source.meta, {**source.text_tensors, **bank})
        if videos:
            with IndexWriter(temporary) as writer:
                _copy_rows(source, videos, writer, progress)
    return len(videos)


def _copy_rows(
    source: VideoIndex, videos: list[IndexedVideo], writer: IndexWriter, progress: Progress
) -> None:
    names = ("root", "path", "size", "mtime_ns", "sha256", "num_frames", "window", "is_part")
    writer.lay_out([NewVideo(**{name: getattr(video, name) for name in names}) for video in videos])
    rows = enumerate(source.frames_of_rows([video.row for video in videos]))
    with progress.task("copy", total=len(videos), unit="rows") as task:
        while part := list(islice(rows, _AT_ONCE)):
            writer.add(
                [
                    EncodedVideo(
                        slot=slot,
                        embedding=source.embedding_of(videos[slot].row),
                        frames=frames,
                        seconds=seconds,
                        num_real=num_real,
                        duration_seconds=videos[slot].duration_seconds,
                    )
                    for slot, (frames, seconds, num_real) in part
                ]
            )
            task.advance(len(part))
