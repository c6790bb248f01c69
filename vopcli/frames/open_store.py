"""Open the frame store of an extraction: an existing one, a new one, or a replacement."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, FileError
from vopcli.files.atomic import beside, note_unfinished, remove_leftovers, replace_file
from vopcli.files.hdf5 import may_replace
from vopcli.files.journal import locked
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.progress import Progress
from vopcli.video.video_file import KnownVideos, VideoFile

_SPARE_BYTES: Final = 4 << 20  # left free on the disk


@contextlib.contextmanager
def opened(
    request: ExtractRequest, found: Sequence[VideoFile], progress: Progress
) -> Iterator[tuple[FrameStoreWriter, Callable[[], None]]]:
    """Open the store for writing; yield a writer and a function that keeps a new store.

    A new store is deleted after an error unless that function was called. One that replaces another store
    is built beside it, and takes its place at the end.

    Args:
        request: names the store.
        found: videos to extract; an interrupted replacement that holds others is started again.
        progress: receives notes on interrupted replacements.

    Raises:
        DataError: the store cannot be read, or was made with another recipe.
        BusyError: another process writes the store.
        FileError: a new store cannot be created.
    """
    path, recipe = request.store, request.recipe
    if request.overwrite:
        with _replaceable(path):
            remove_leftovers(path)
        with beside(path, progress) as new:
            is_continued = _continues(new, recipe, {video.path for video in found})
            if is_continued:
                progress.note(f"continuing the interrupted --overwrite of {path}")
            else:
                new.unlink(missing_ok=True)
                create_store(new, recipe)
            with _new_store(new, is_kept=is_continued) as made:
                yield made
            with _replaceable(path):
                replace_file(new, path)
    elif not path.exists() and _try_create(path, recipe):
        with _new_store(path) as made:
            yield made
    else:
        with FrameStoreWriter(path) as writer:
            check_recipe(request, writer.recipe)
            remove_leftovers(path)
            note_unfinished(path, progress)
            yield writer, lambda: None


@contextlib.contextmanager
def _new_store(path: Path, *, is_kept: bool = False) -> Iterator[tuple[FrameStoreWriter, Callable[[], None]]]:
    """Open a store that this process has just created; delete it after an error unless it is kept."""
    kept = [is_kept]
    with FrameStoreWriter(path) as writer:
        try:
            yield writer, lambda: kept.append(True)
        finally:
            if not any(kept):  # while it is locked: no other process can have opened it
                path.unlink(missing_ok=True)


def _continues(path: Path, recipe: Recipe, paths: set[str]) -> bool:
    """Whether a replacement that an interrupted run left was begun by the same request."""
    try:
        found = FrameStore.open(path)
    except DataError:  # missing, or damaged
        return False
    return found.recipe == recipe and paths.issuperset(row.path for row in found.rows)


def _try_create(path: Path, recipe: Recipe) -> bool:
    """Create an empty store; return False if another process was faster.

    Raises:
        FileError: the store cannot be created.
    """
    try:
        create_store(path, recipe)
    except FileError:
        if path.exists():
            return False
        raise
    return True


def read_known(request: ExtractRequest) -> tuple[Recipe, KnownVideos[Row], list[int]]:
    """Read the store for a dry run, without locking it.

    Returns:
        The recipe, the rows, and the free frame slots of each segment.

    Raises:
        DataError: the store cannot be read, or was made with another recipe.
    """
    if request.overwrite or not request.store.exists():
        return request.recipe, KnownVideos(), []
    store = FrameStore(request.store)  # with damaged rows: the run would extract them again
    check_recipe(request, store.recipe)
    num_free = [slots - used for slots, used in zip(store.num_slots, store.used_frames, strict=True)]
    return store.recipe, store.known, num_free


def check_recipe(request: ExtractRequest, found: Recipe) -> None:
    """Check that the recipe of a store matches the request.

    Raises:
        DataError: an option or setting of the request differs from the store.
    """
    asked, data = request.recipe, request.data
    differences = []
    if request.sampling and asked.sampling != found.sampling:
        differences.append(f"sampling {found.sampling}, not {asked.sampling}")
    if data.size and asked.size != found.size:
        differences.append(f"frames of {found.size} x {found.size} pixels, not {asked.size} x {asked.size}")
    if data.codec and asked.codec != found.codec:
        differences.append(f"codec {found.codec}, not {asked.codec}")
    if data.windows and found.windows != asked.windows:
        differences.append(f"windows {found.windows}, not {asked.windows}")
    if data.decode and found.decode is not asked.decode:
        differences.append(f"{found.decode.value} frames, not {asked.decode.value}")
    if data.resize and found.resize != asked.resize:
        differences.append(f"frames resized by {found.resize.value}, not {asked.resize.value}")
    if data.fit and found.fit is not asked.fit:
        differences.append(f"frames fitted by {found.fit.value}, not {asked.fit.value}")
    if differences:
        raise DataError(
            f"{request.store} holds {'; '.join(differences)}",
            hint="omit these options and settings, name another file, or use --overwrite",
        )


@contextlib.contextmanager
def _replaceable(path: Path) -> Iterator[None]:
    """Lock a file, if it exists, that must be a frame store, possibly damaged.

    Raises:
        BusyError: another process uses ``path``.
        FileError: ``path`` cannot be read.
        DataError: ``path`` is not a frame store.
    """
    if not path.exists():
        yield
        return
    if not may_replace(path, FRAME_FORMAT):
        raise DataError(
            f"{path} is not a frame store and is not overwritten", hint="is the store named last?"
        )
    with locked(path):
        yield


def check_room(path: Path, num_bytes: int) -> None:
    """Check that the disk of ``path`` has ``num_bytes`` left.

    Raises:
        DataError: the disk has less space left.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if num_bytes and num_bytes + _SPARE_BYTES > free:
        raise DataError(
            f"{path} needs {num_bytes / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB left",
            hint="free some space, name another disk, or use --codec jpeg, fewer frames or a smaller size",
        )
