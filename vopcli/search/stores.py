"""Indexes that a search engine keeps instead of an HDF5 file, chosen by the scheme of their name.

A new engine needs a module with a class that implements `Store`, and its record in `STORES`.

Axes: Q queries, E joint width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Ann
from vopcli.errors import UsageError
from vopcli.files.hdf5 import Segment
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress
from vopcli.search.engine import Floats, Found

if TYPE_CHECKING:
    from vopcli.index.writer import VideoWriter
    from vopcli.search.filters import VideoFilter

STORES: Final = {"milvus": "vopcli.search.milvus_store:MilvusStore"}  # scheme -> module:class


class EngineIndex(VideoIndex, ABC):
    """An index that a search engine keeps; its rows are keys of the engine instead of positions.

    `embeddings`, `done` and `rows` read all rows, in the order in which they were added to the HDF5 index.
    """

    segments: list[Segment]  # empty
    whole: EngineIndex  # itself, unless it is a part
    is_complete: bool  # whether the last run that wrote rows came to its end

    @abstractmethod
    def part(self, where: VideoFilter) -> EngineIndex:
        """Return the index of the videos that pass a filter; `embeddings` and `done` still have all rows.

        Raises:
            DataError: the engine does not answer.
        """

    @abstractmethod
    def nearest(self, queries: Floats, *, top: int) -> list[Found]:
        """Rank the rows by cosine, as an `Engine`."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Describe the index as JSON values."""

    @abstractmethod
    def embedding_checksums(self) -> NDArray[np.uint64]:
        """Return the embedding checksum of every row, in the order of `rows`."""


@dataclass(frozen=True)
class CopyRules:
    """How an index is copied to a search engine.

    Attributes:
        overwrite: replace an index of that name.
        prune: remove rows that the source lacks.
        ann: the vector index; None: as it is, exact for a new one.
    """

    overwrite: bool = False
    prune: bool = False
    ann: Ann | None = None


@dataclass(frozen=True)
class Copied:
    """Numbers of rows, videos and windows together, of a copied index.

    Attributes:
        num_added: new rows.
        num_changed: rows that replaced others of the same video and window.
        num_unchanged: rows that were equal.
        num_removed: rows that were removed.
        recall: mean fraction of the ten nearest rows that an approximate vector index finds; None: exact, or
            not measured.
    """

    num_added: int
    num_changed: int = 0
    num_unchanged: int = 0
    num_removed: int = 0
    recall: float | None = None


class Store(Protocol):
    """A search engine, and the name of an index in it."""

    def __init__(self, name: Path) -> None:
        """Parse a name.

        Raises:
            UsageError: the name is malformed, or a package is not installed.
        """

    def open(self) -> EngineIndex:
        """Open the index for searching.

        Raises:
            DataError: the index is missing or damaged, or the engine does not answer.
        """
        ...

    def exists(self) -> bool:
        """Whether there is an index of that name.

        Raises:
            DataError: the name belongs to data that is not an index, or the engine does not answer.
        """
        ...

    def extend(self) -> VideoWriter:
        """Open the index for writing.

        Raises:
            DataError: the index is missing or damaged, or the engine does not answer.
        """
        ...

    def create(
        self,
        meta: IndexMeta,
        tensors: Mapping[str, NDArray[np.float32]],
        progress: Progress,
        *,
        overwrite: bool,
    ) -> VideoWriter:
        """Create an empty index, or resume an interrupted replacement.

        Args:
            meta: the model and the sampling.
            tensors: of the text side of an adapter.
            progress: receives a note if a replacement is continued.
            overwrite: replace an index of that name.

        Raises:
            DataError: the name belongs to data that is not an index, or the engine does not answer.
            BusyError: there is an index that is not to be replaced.
        """
        ...

    def write(self, source: VideoIndex, rules: CopyRules, progress: Progress) -> Copied:
        """Copy the rows of an index that are new or have changed.

        Raises:
            DataError: the index in the engine is of another model, or the engine does not answer.
        """
        ...


def is_in_engine(path: Path) -> bool:
    """Whether a name begins with the scheme of a search engine."""
    scheme, colon, _ = str(path).partition(":")
    return bool(colon) and scheme in STORES


def store_of(path: Path) -> Store | None:
    """Return the search engine that a name such as milvus:FILE.db chooses; None for a file.

    Raises:
        UsageError: the name is malformed, or a package is not installed.
    """
    if not is_in_engine(path):
        return None
    module, _, name = STORES[str(path).partition(":")[0]].partition(":")
    store: Store = getattr(import_module(module), name)(path)
    return store


def open_videos(path: Path) -> VideoIndex:
    """Open an index, an HDF5 file or in a search engine.

    Raises:
        UsageError: the name is malformed, or a package is not installed.
        DataError: the index is missing or damaged, or the engine does not answer.
        BusyError: another process keeps changing `path`.
    """
    store = store_of(path)
    return store.open() if store else VideoIndex(path)


def check_is_file(path: Path, command: str, then: str = "") -> None:
    """Refuse an index in a search engine, for a command that reads or writes HDF5 files only.

    Args:
        path: the name of the index.
        command: for the message.
        then: a further step for the hint, in which {name} is that of the index.

    Raises:
        UsageError: `path` names an index in a search engine.
    """
    if is_in_engine(path):
        hint = f"copy it first: vop index copy {path} INDEX.h5"
        if then:
            hint = f"use the HDF5 index {then.format(name=path)}"
        raise UsageError(f"{command} needs an HDF5 index, not {path}", hint=hint)
