"""Copy an index to Milvus: rows that are new or have changed are written, so that a copy can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Ann
from vopcli.errors import DataError
from vopcli.index.reader import BANK, VideoIndex
from vopcli.progress import Progress
from vopcli.search.exact import Part, search_exact
from vopcli.search.milvus import MilvusIndex
from vopcli.search.milvus_client import Milvus, signed
from vopcli.search.milvus_writer import MilvusWriter, create_collections, make_row, row_key
from vopcli.search.stores import Copied, CopyRules, EngineIndex

_AT_ONCE: Final = 256  # rows written in a call
_SAMPLED: Final = 200  # queries of the recall
_NEAREST: Final = 10


def copy_to_milvus(source: VideoIndex, server: Milvus, rules: CopyRules, progress: Progress) -> Copied:
    """Write the rows of an index that Milvus lacks, or holds in another state.

    Args:
        source: the index; the same as that of the server to change its vector index only.
        server: the target.
        rules: what to replace or remove.
        progress: shows the rows.

    Raises:
        DataError: the index in Milvus is of another model, the source is damaged, or Milvus reports an error.
    """
    rows = {row_key(source.video(row)): row for row in source.rows()}  # the latest of a window
    if source.path == Path(server.name):
        _open_target(source, server, replace(rules, overwrite=False))
        return Copied(0, num_unchanged=len(rows), recall=_recall(source, rows, server))
    writer = _open_target(source, server, rules)
    writer.begin(has_windows=source.has_windows)
    existing = {
        row["id"]: (row["state"], row["name"], row["is_part"])
        for row in server.scan(["id", "state", "name", "is_part"], batch=8192)
    }
    names = {key: signed(source.name_hash_of(row)) for key, row in rows.items()}
    states = {key: state for key, (state, *_) in existing.items()}
    counts = _write_rows(source, rows, writer, states, progress)
    of_source = set(names.values())
    gone = {
        key
        for key, (_, name, _) in existing.items()
        if key not in rows and (rules.prune or name in of_source)  # such as windows of an earlier version
    }
    writer.remove([*gone])
    writer.write_tensors(_tensors(source))
    kept = {key: (name, is_part) for key, (_, name, is_part) in existing.items() if key not in gone}
    kept |= {key: (names[key], source.video(row).is_part) for key, row in rows.items()}
    whole = {name for name, is_part in kept.values() if not is_part}
    writer.finish(is_complete=all(name in whole for name, _ in kept.values()))
    recall = _recall(source, rows, server) if len(kept) == len(rows) else None
    return Copied(*counts, num_removed=len(gone), recall=recall)


def _open_target(source: VideoIndex, server: Milvus, rules: CopyRules) -> MilvusWriter:
    """Create the index, or check its model, and build the vector index.

    Raises:
        DataError: the index is of another model.
    """
    if rules.overwrite or not server.exists():
        create_collections(server, source.meta, _tensors(source), ann=(rules.ann or Ann.FLAT).value)
    values = server.properties()
    differs = [name for name, value in source.meta.attributes().items() if values.get(name) != value]
    if differs:
        raise DataError(
            f"{server.name} is of another model or sampling than {source.path}: {', '.join(differs)} differ",
            hint="name another collection, or use --overwrite",
        )
    server.build(rules.ann or Ann(values["ann"]))
    return MilvusWriter(server)


def _tensors(source: VideoIndex) -> dict[str, NDArray[np.float32]]:
    return {**source.text_tensors, **{BANK + name: tensor for name, tensor in source.bank_tensors.items()}}


def _write_rows(
    source: VideoIndex,
    rows: Mapping[int, int],
    writer: MilvusWriter,
    states: Mapping[int, int],
    progress: Progress,
) -> tuple[int, int, int]:
    """Write the rows that differ; return the numbers of new, changed and equal rows."""
    counts = [0, 0, 0]
    # the number orders rows of equal score; positions of an HDF5 index stay the same when rows are added
    is_file = not isinstance(source, EngineIndex)
    numbers = {row: row if is_file else number for number, row in enumerate(source.rows())}
    with progress.task("copy", total=len(rows), unit="rows") as task:
        keys = iter(rows)
        while part := list(islice(keys, _AT_ONCE)):
            new = {}
            contents = source.frames_of_rows([rows[key] for key in part])
            for key, (frames, seconds, _) in zip(part, contents, strict=True):
                row = rows[key]
                video, embedding = source.video(row), source.embedding_of(row)
                made = make_row(video, embedding, frames, seconds, numbers[row])
                if states.get(key) == made[0]["state"]:
                    counts[2] += 1
                    continue
                counts[key in states] += 1
                new[key] = made
            writer.put(new, [*(new.keys() & states.keys())])
            task.advance(len(part))
    return counts[0], counts[1], counts[2]


def _recall(source: VideoIndex, rows: Mapping[int, int], server: Milvus) -> float | None:
    """Return how many of the ten rows nearest to frames of videos an approximate vector index finds."""
    index = MilvusIndex(server)
    if index.values["ann"] == Ann.FLAT.value or not rows:
        return None
    chosen = list(rows.values())[:: max(len(rows) // _SAMPLED, 1)][:_SAMPLED]
    queries = np.stack([frames[0] for frames, *_ in source.frames_of_rows(chosen)]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    parts = [Part(*part) for part in zip(source.embeddings, source.done, strict=True)]
    keys = {row: key for key, row in rows.items()}
    if isinstance(source, EngineIndex):
        keys = dict(enumerate(source.rows()))
    exact = search_exact(parts, queries, top=_NEAREST, path_of=str)
    shared = [
        len({keys.get(row) for row in truth.rows.tolist()} & set(answer.rows.tolist())) / len(truth.rows)
        for truth, answer in zip(exact, index.nearest(queries, top=_NEAREST), strict=True)
    ]
    return float(np.mean(shared))
