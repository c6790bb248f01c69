"""Indexes in Milvus by name; imported only for a name that begins with milvus:."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import VideoWriter
from vopcli.progress import Progress
from vopcli.search.milvus import VERSION, MilvusIndex
from vopcli.search.milvus_client import Milvus
from vopcli.search.stores import Copied, CopyRules, EngineIndex


class MilvusStore:
    """An index in Milvus."""

    def __init__(self, name: Path) -> None:
        """Parse a name.

        Raises:
            UsageError: the name is malformed, or pymilvus or milvus-lite is not installed.
        """
        self._server = Milvus(name)

    def exists(self) -> bool:
        """Whether there is an index of that name.

        Raises:
            DataError: a collection of that name is of another program, or Milvus does not answer.
        """
        return self._server.exists() and bool(self._server.properties())

    def open(self) -> EngineIndex:
        """Open the index for searching.

        Raises:
            DataError: there is none, it is damaged, or Milvus does not answer.
        """
        return MilvusIndex(self._server)

    def extend(self) -> VideoWriter:
        """Open the index for writing.

        Raises:
            DataError: there is none, it is damaged, or Milvus does not answer.
        """
        from vopcli.search.milvus_writer import MilvusWriter

        return MilvusWriter(self._server)

    def create(
        self, meta: IndexMeta, tensors: Mapping[str, NDArray[np.float32]], progress: Progress
    ) -> VideoWriter:
        """Replace the index by an empty one, or go on with the replacement that an interrupted run left.

        Raises:
            DataError: a collection of that name is of another program, or Milvus does not answer.
        """
        from vopcli.search.milvus_writer import MilvusWriter, create_collections

        is_replacing = self._server.exists()
        values = self._server.properties() if is_replacing else {}
        is_begun = values.get("is_replacing") and values.get("version") == VERSION
        if is_begun and MilvusIndex(self._server).meta == meta:
            progress.note(f"continuing the interrupted --overwrite of {self._server.name}")
        else:
            create_collections(self._server, meta, tensors, is_replacing=is_replacing)
        return MilvusWriter(self._server, is_new=True)

    def write(self, source: VideoIndex, rules: CopyRules, progress: Progress) -> Copied:
        """Copy the rows of an index that are new or have changed.

        Raises:
            DataError: the index in Milvus is of another model, or Milvus does not answer.
        """
        from vopcli.search.milvus_copy import copy_to_milvus

        return copy_to_milvus(source, self._server, rules, progress)

    def describe(self) -> dict[str, object]:
        """Describe the index as JSON values.

        Raises:
            DataError: there is none, or Milvus does not answer.
        """
        index = MilvusIndex(self._server)
        found = [index.video(row) for row in index.rows()]
        videos = [video for video in found if not video.is_part]
        return {
            "kind": "milvus",
            "version": VERSION,
            "path": self._server.name,
            "server": str(self._server.call("get_server_version")),
            "videos": len(videos),
            "windows": len(found) - len(videos),
            "frames": sum(video.num_real for video in found),
            "duration_seconds": sum(video.duration_seconds for video in videos),
            "is_complete": index.is_complete,
            "vector_index": index.values["ann"],
            **index.meta.attributes(),
        }
