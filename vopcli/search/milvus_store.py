"""Open, create and extend indexes in Milvus; imported only for names that begin with milvus:."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import BusyError
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
            DataError: the index is missing or damaged, or Milvus does not answer.
        """
        return MilvusIndex(self._server)

    def extend(self) -> VideoWriter:
        """Open the index for writing.

        Raises:
            DataError: the index is missing or damaged, or Milvus does not answer.
        """
        from vopcli.search.milvus_writer import MilvusWriter

        return MilvusWriter(self._server)

    def create(
        self,
        meta: IndexMeta,
        tensors: Mapping[str, NDArray[np.float32]],
        progress: Progress,
        *,
        overwrite: bool,
    ) -> VideoWriter:
        """Create an empty index, or resume an interrupted replacement.

        Raises:
            DataError: a collection of that name is of another program, or Milvus does not answer.
            BusyError: there is an index that is not to be replaced.
        """
        from vopcli.search.milvus_writer import MilvusWriter, create_collections

        values = self._server.properties() if self._server.exists() else {}
        if values and not overwrite:
            raise BusyError(
                f"another command has created {self._server.name} meanwhile", hint="run the command again"
            )
        is_begun = values.get("is_replacing") and values.get("version") == VERSION
        if is_begun and MilvusIndex(self._server).meta == meta:
            progress.note(f"continuing the interrupted --overwrite of {self._server.name}")
        else:
            create_collections(self._server, meta, tensors, is_replacing=bool(values))
        return MilvusWriter(self._server, is_new=True)

    def write(self, source: VideoIndex, rules: CopyRules, progress: Progress) -> Copied:
        """Copy the rows of an index that are new or have changed.

        Raises:
            DataError: the index in Milvus is of another model, or Milvus does not answer.
        """
        from vopcli.search.milvus_copy import copy_to_milvus

        return copy_to_milvus(source, self._server, rules, progress)
