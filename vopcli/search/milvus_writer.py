"""Write rows of an index in Milvus.

The frames of a row are written before the row: a row that exists is complete.

Axes: F frames of a row, E joint width.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Ann
from vopcli.errors import DataError
from vopcli.files.arrays import checksum
from vopcli.index.checksums import frames_checksum, name_hash
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import IndexedVideo
from vopcli.index.writer import EncodedVideo, NewVideo
from vopcli.search.milvus import FAILURES, STORED, VERSION, MilvusIndex, tensor_key
from vopcli.search.milvus_client import LONG_SECONDS, Milvus, key_of, piece_of, pieces_of, plain_path, signed
from vopcli.video.video_file import KnownVideos, VideoFile, is_same_file

_Row = dict[str, Any]


def create_collections(
    server: Milvus, meta: IndexMeta, tensors: Mapping[str, NDArray[np.float32]], **values: Any
) -> None:
    """Create an empty index in place of the one of that name, if any.

    Args:
        server: the target.
        meta: the model and the sampling.
        tensors: of the text side of an adapter, and of a query bank.
        values: further values of the description, such as the vector index.

    Raises:
        DataError: another program has a collection of one of the names, or Milvus reports an error.
    """
    if server.exists():
        server.properties()  # refuses a collection of another program
    standard = {"has_windows": False, "is_replacing": False, "ann": Ann.FLAT.value}
    standard |= {"version": VERSION, "is_complete": False, "state": ""}
    held = {name: (tensor.shape, checksum(tensor)) for name, tensor in tensors.items()}
    values = {**meta.attributes(), **standard, "tensors": held, **values}
    pieces = [piece for name, tensor in tensors.items() for piece in _tensor_pieces(name, tensor)]
    server.create(meta.embed_dim, values, Ann(values["ann"]), pieces)


class MilvusWriter:
    """Adds rows to an index as `IndexWriter` does to a file; a context manager.

    Several can write to an index at the same time: each changes its own rows and values only.

    Attributes:
        index: the index as it was opened.
        older: the row of each video that `lay_out` was called with and that is in the index, by path.
    """

    def __init__(self, server: Milvus, *, is_new: bool = False) -> None:
        """Open an index; one that was empty and is new is dropped if an error occurs before it has a row.

        Raises:
            DataError: the index is missing or damaged, or Milvus does not answer.
        """
        self._server, self._is_open = server, is_new
        self.index = self._latest = MilvusIndex(server)
        self._is_unused = is_new and self.index.is_empty
        self.older: KnownVideos[IndexedVideo] = KnownVideos()
        self._new: Sequence[NewVideo] = ()
        self._known: set[int] = set()
        self._first = 0

    def __enter__(self) -> MilvusWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.finish()
        elif self._is_unused:
            with contextlib.suppress(DataError):  # after the error that Milvus does not answer
                if not self._server.count():
                    self._server.drop()

    def begin(self, *, has_windows: bool = False) -> None:
        """Mark the index as unfinished, before the first row is written."""
        self._is_open = True
        self._server.describe({"is_complete": False} | ({"has_windows": True} if has_windows else {}))

    def finish(self, *, is_complete: bool = True) -> None:
        """Mark the index as complete if rows were written."""
        if not self._is_open:
            return
        for collection in (self._server.collection, self._server.frames):
            self._server.call("flush", collection, seconds=LONG_SECONDS)
        ended = {"is_complete": is_complete, "is_replacing": False, "state": uuid.uuid4().hex}
        self._server.describe(ended)
        self._is_open = False

    def current(self) -> MilvusIndex:
        """Return the index with the rows added so far."""
        self._latest = MilvusIndex(self._server)
        return self._latest

    def lay_out(self, videos: Sequence[NewVideo], *, thumbnails: bool = False) -> None:
        """Look up the rows that ``videos`` replace; Milvus keeps no thumbnails."""
        del thumbnails
        self._new, self.older = list(videos), self.index.find(videos)
        found = chain(self.older.videos.values(), *self.older.parts.values())
        self._known = {video.row for video in found}
        self._first = time.time_ns()  # greater than the numbers of all rows
        self.begin(has_windows=any(video.is_part for video in videos))

    def add(self, encoded: Sequence[EncodedVideo], replaced: Sequence[int] = ()) -> None:
        """Write videos that were laid out.

        Args:
            encoded: the videos.
            replaced: rows to remove afterwards, such as those of a renamed file.

        Raises:
            DataError: Milvus reports an error.
        """
        rows, older = {}, set(replaced)
        for item in encoded:
            new = self._new[item.slot]
            fields = vars(new) | {"num_frames": len(item.frames), "sha256": item.sha256 or new.sha256}
            video = IndexedVideo(
                **fields,
                row=self._first + item.slot,
                duration_seconds=item.duration_seconds,
                num_real=item.num_real,
                reason="",
            )
            rows[row_key(video)] = make_row(video, item.embedding, item.frames, item.seconds)
            older |= self._older(new)
        self.put(rows, [*(rows.keys() & self._known)])
        self.remove([*(older - rows.keys())])

    def _older(self, new: NewVideo) -> set[int]:
        """Return the rows that a video replaces: its own, and windows of another state of the file."""
        if new.is_part:
            return set()
        rows = {part.row for part in self.older.parts.get(new.path, []) if not is_same_file(part, new)}
        return rows | {video.row for video in [self.older.videos.get(new.path)] if video}

    def put(self, rows: Mapping[int, tuple[_Row, bytes]], changed: Sequence[int]) -> None:
        """Write rows.

        Args:
            rows: fields and frames of each, by key.
            changed: those that replace a row of the same key.
        """
        self._is_unused = False
        self._server.delete(self._server.frames, "row", changed)  # it may have had more frames
        pieces = [piece for key, (_, content) in rows.items() for piece in pieces_of(key, content)]
        self._server.upsert(self._server.frames, pieces)
        self._server.upsert(self._server.collection, [row for row, _ in rows.values()])

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows, and notes of failures."""
        self._server.delete(self._server.collection, "id", rows)
        for field in ("row", "id"):  # of frames, and of a failure
            self._server.delete(self._server.frames, field, rows)

    def note_failures(self, failed: Sequence[tuple[VideoFile, str]]) -> None:
        """Remember videos that cannot be decoded, with the reasons; they replace earlier failures."""
        rows = []
        for video, reason in failed:
            fields = {name: getattr(video, name, 0) for name in STORED} | {"reason": reason}
            rows.append(piece_of(FAILURES, key_of(b"failed\0" + _name(video)), json.dumps(fields)))
        self._server.upsert(self._server.frames, rows)

    def rewrite(self, rows: Sequence[int], tensors: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """Remove the rows of the last `current` but the given ones.

        Args:
            rows: rows to keep.
            tensors: tensors to add, or to replace.
        """
        kept = set(rows)
        self.begin()
        self.remove([row for row in self._latest.rows() if row not in kept])  # not those of another process
        self.write_tensors(tensors or {})

    def write_tensors(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Add tensors of the model or of a query bank, or replace those of the same names."""
        held = self._server.properties()["tensors"]  # another process may have added some
        given = {name: [list(tensor.shape), checksum(tensor)] for name, tensor in tensors.items()}
        new = {name: found for name, found in given.items() if held.get(name) != found}
        for name in new:
            self._server.delete(self._server.frames, "row", [tensor_key(name)])
            self._server.upsert(self._server.frames, _tensor_pieces(name, tensors[name]))
        if new:
            self._server.describe({"tensors": held | new})


def make_row(
    video: IndexedVideo,
    embedding: NDArray[np.float32],
    frames: NDArray[np.float16],
    seconds: NDArray[np.float64],
    number: int | None = None,
) -> tuple[_Row, bytes]:
    """Return the fields of a row, and its times and frames.

    Args:
        video: of the row.
        embedding: (E,).
        frames: (F, E).
        seconds: (F,).
        number: orders the rows of a video; None: ``video.row``.
    """
    start, end = video.window.start_seconds, video.window.end_seconds
    details = {
        **{name: getattr(video, name) for name in STORED},
        "number": video.row if number is None else number,
        "sha256": video.sha256.hex(),
        "window": [start, None if math.isinf(end) else end],
        "embedding_checksum": checksum(embedding),
        "frames_checksum": frames_checksum(frames, seconds),
    }
    text = json.dumps(details)
    row = {
        "id": row_key(video),
        "name": signed(name_hash(video.path, video.root)),
        "path": plain_path(video.path),
        "folder": plain_path(os.path.dirname(video.file) + "/").casefold(),  # noqa: PTH120  (of any bytes)
        "is_part": video.is_part,
        "start": start,
        "end": min(end, max(video.duration_seconds, start)),
        "duration": video.duration_seconds,
        "size": video.size,
        "modified": video.mtime_ns,
        "details": text,
        "state": key_of(text.encode()),
        "embedding": np.array(embedding),
    }
    return row, seconds.astype("<f8").tobytes() + frames.astype("<f2").tobytes()


def row_key(video: IndexedVideo) -> int:
    """Return the key of a row."""
    window = struct.pack("<ddB", video.window.start_seconds, video.window.end_seconds, video.is_part)
    return key_of(_name(video) + b"\0" + window)


def _name(video: VideoFile) -> bytes:
    return os.fsencode(video.path) + b"\0" + os.fsencode(video.root)


def _tensor_pieces(name: str, tensor: NDArray[np.float32]) -> list[_Row]:
    return pieces_of(tensor_key(name), tensor.astype("<f4").tobytes())
