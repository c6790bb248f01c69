"""Copy an index to Milvus: rows that are new or have changed are written, so that a copy can be repeated.

The frames of a row are written before the row: a row that exists is complete.
"""

from __future__ import annotations

import json
import math
import os
import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import MEAN, Ann, NormRule
from vopcli.errors import DataError
from vopcli.files.arrays import checksum
from vopcli.index.checksums import frames_checksum
from vopcli.index.reader import BANK, IndexedVideo, VideoIndex
from vopcli.progress import Progress
from vopcli.search.milvus import VERSION, MilvusIndex, RowDetails, tensor_key
from vopcli.search.milvus_client import LONG_SECONDS, Milvus, key_of, pieces_of, plain_path, signed
from vopcli.search.ranking import choose_engine
from vopcli.search.stores import Copied, CopyRules, EngineIndex

_AT_ONCE: Final = 256  # rows written in a call
_DELETED: Final = 1024
_SAMPLED: Final = 200  # queries of the recall
_NEAREST: Final = 10


@dataclass(frozen=True)
class _Existing:
    """Rows in Milvus: the state and the name of each."""

    states: dict[int, int]
    names: dict[int, int]


def copy_to_milvus(source: VideoIndex, server: Milvus, rules: CopyRules, progress: Progress) -> Copied:
    """Write the rows of an index that Milvus lacks, or holds in another state.

    Args:
        source: the index.
        server: where to.
        rules: what to replace or remove.
        progress: shows the rows.

    Raises:
        DataError: the index in Milvus is of another model, the source is damaged, or Milvus reports an error.
    """
    values = _open_target(source, server, rules)
    existing = _read_existing(server)
    rows = {_row_key(source.video(row)): row for row in source.rows()}  # the latest of a window
    names = {key: signed(source.name_hash_of(row)) for key, row in rows.items()}
    copied = _write_rows(source, rows, server, existing, progress)
    of_source = set(names.values())
    gone = [
        key
        for key, name in existing.names.items()
        if key not in rows and (rules.prune or name in of_source)  # such as windows of an earlier version
    ]
    _delete(server, server.collection, "id", gone)
    _delete(server, server.frames, "row", gone)
    kept = {name for key, name in existing.names.items() if key not in gone} | of_source
    values["tensors"] = _write_tensors(source, server, values["tensors"])
    values |= {"has_windows": values["has_windows"] or source.has_windows, "num_names": len(kept)}
    for collection in (server.collection, server.frames):
        server.call("flush", collection, seconds=LONG_SECONDS)
    server.describe(values | {"is_complete": True, "state": uuid.uuid4().hex})
    is_same = len(existing.states.keys() | rows.keys()) - len(gone) == len(rows)
    recall = _recall(source, rows, server) if values["ann"] != Ann.FLAT.value and rows and is_same else None
    return Copied(*copied, num_removed=len(gone), recall=recall)


def _open_target(source: VideoIndex, server: Milvus, rules: CopyRules) -> dict[str, Any]:
    """Create the index, or check its model; return its description, marked as unfinished.

    Raises:
        DataError: the index is of another model.
    """
    ann = rules.ann or Ann.FLAT
    if rules.overwrite and server.exists():
        server.properties()  # refuses a collection of another program
        server.drop()
    if not server.exists():
        values = {
            **source.meta.attributes(),
            "version": VERSION,
            "tensors": {},
            "ann": ann.value,
            "has_windows": source.has_windows,
            "num_names": 0,
            "is_complete": False,
            "state": "",
        }
        server.create(source.meta.embed_dim, values, ann)
        return values
    index = MilvusIndex(server)
    values = index.values
    if index.meta != source.meta:
        differs = [
            name for name, value in source.meta.attributes().items() if index.meta.attributes()[name] != value
        ]
        raise DataError(
            f"{server.name} is of another model or sampling than {source.path}: {', '.join(differs)} differ",
            hint="name another collection, or use --overwrite",
        )
    if rules.ann and rules.ann.value != values["ann"]:
        server.rebuild(ann)
        values["ann"] = ann.value
    values["is_complete"] = False
    server.describe(values)
    return values


def _read_existing(server: Milvus) -> _Existing:
    existing = _Existing({}, {})
    for row in server.scan(["id", "state", "name"], batch=8192):
        existing.states[row["id"]], existing.names[row["id"]] = row["state"], row["name"]
    return existing


def _write_rows(
    source: VideoIndex, rows: Mapping[int, int], server: Milvus, existing: _Existing, progress: Progress
) -> tuple[int, int, int]:
    """Write the rows that differ; return the numbers of new, changed and equal rows."""
    counts = [0, 0, 0]
    # the number orders rows of equal score; positions of an HDF5 index stay the same when rows are added
    is_file = not isinstance(source, EngineIndex)
    numbers = {row: row if is_file else number for number, row in enumerate(source.rows())}
    with progress.task("copy", total=len(rows), unit="rows") as task:
        keys = iter(rows)
        while part := list(islice(keys, _AT_ONCE)):
            new, changed, pieces = [], [], []
            for key, row in _entities(source, {key: rows[key] for key in part}, numbers):
                content = row.pop("content")
                if existing.states.get(key) == row["state"]:
                    counts[2] += 1
                    continue
                counts[key in existing.states] += 1
                changed += [key] if key in existing.states else []
                new.append(row)
                pieces += pieces_of(key, content)
            _delete(server, server.frames, "row", changed)  # it may have had more frames
            _upsert(server, server.frames, pieces)
            _upsert(server, server.collection, new)
            task.advance(len(part))
    return counts[0], counts[1], counts[2]


def _entities(
    source: VideoIndex, rows: Mapping[int, int], numbers: Mapping[int, int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the fields of rows, and their times and frames as "content"."""
    for (key, row), (frames, seconds, _) in zip(
        rows.items(), source.frames_of_rows(rows.values()), strict=True
    ):
        video, embedding = source.video(row), source.embedding_of(row)
        details = json.dumps(_details(video, embedding, frames, seconds, numbers[row]))
        yield (
            key,
            {
                "id": key,
                "name": signed(source.name_hash_of(row)),
                "path": plain_path(video.path),
                "is_part": video.is_part,
                "start": video.window.start_seconds,
                "end": min(video.window.end_seconds, max(video.duration_seconds, video.window.start_seconds)),
                "details": details,
                "state": key_of(details.encode()),
                "embedding": np.array(embedding),
                "content": seconds.astype("<f8").tobytes() + frames.astype("<f2").tobytes(),
            },
        )


def _details(
    video: IndexedVideo,
    embedding: NDArray[np.float32],
    frames: NDArray[np.float16],
    seconds: NDArray[np.float64],
    number: int,
) -> RowDetails:
    start, end = video.window.start_seconds, video.window.end_seconds
    return {
        "number": number,
        "root": video.root,
        "path": video.path,
        "size": video.size,
        "mtime_ns": video.mtime_ns,
        "sha256": video.sha256.hex(),
        "window": [start, None if math.isinf(end) else end],
        "is_part": video.is_part,
        "duration": video.duration_seconds,
        "num_frames": len(frames),
        "num_real": video.num_real,
        "embedding_checksum": checksum(embedding),
        "frames_checksum": frames_checksum(frames, seconds),
    }


def _write_tensors(
    source: VideoIndex, server: Milvus, before: Mapping[str, Any]
) -> dict[str, tuple[tuple[int, ...], int]]:
    """Write the text tensors of an adapter and the query bank; return shape and checksum of each."""
    bank = {BANK + name: tensor for name, tensor in source.bank_tensors.items()}
    tensors = {**source.text_tensors, **bank}
    found = {name: (tensor.shape, checksum(tensor)) for name, tensor in tensors.items()}
    for name in before.keys() | found.keys():
        if name in found and list(before.get(name, ())) == [list(found[name][0]), found[name][1]]:
            continue
        _delete(server, server.frames, "row", [tensor_key(name)])
        if name in tensors:
            _upsert(server, server.frames, pieces_of(tensor_key(name), tensors[name].astype("<f4").tobytes()))
    return found


def _upsert(server: Milvus, collection: str, rows: list[dict[str, Any]]) -> None:
    for begin in range(0, len(rows), _AT_ONCE):
        server.call("upsert", collection, data=rows[begin : begin + _AT_ONCE])


def _delete(server: Milvus, collection: str, field: str, keys: list[int]) -> None:
    for begin in range(0, len(keys), _DELETED):
        server.call("delete", collection, filter=f"{field} in {keys[begin : begin + _DELETED]}")


def _recall(source: VideoIndex, rows: Mapping[int, int], server: Milvus) -> float:
    """Return how many of the ten rows nearest to frames of videos an approximate vector index finds."""
    chosen = list(rows.values())[:: max(len(rows) // _SAMPLED, 1)][:_SAMPLED]
    queries = np.stack([frames[0] for frames, *_ in source.frames_of_rows(chosen)]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    keys = {row: key for key, row in rows.items()}
    exact = choose_engine(source, MEAN, NormRule.NONE)(queries, top=_NEAREST)
    found = MilvusIndex(server).nearest(queries, top=_NEAREST)
    shared = [
        len({keys.get(row) for row in truth.rows.tolist()} & set(answer.rows.tolist())) / len(truth.rows)
        for truth, answer in zip(exact, found, strict=True)
    ]
    return float(np.mean(shared))


def _row_key(video: IndexedVideo) -> int:
    window = struct.pack("<ddB", video.window.start_seconds, video.window.end_seconds, video.is_part)
    return key_of(b"\0".join([os.fsencode(video.path), os.fsencode(video.root), window]))
