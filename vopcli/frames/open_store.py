"""Open the frame store of an extraction: an existing one, a new one, or a replacement."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from vopcli.config.choices import Codec, Resize
from vopcli.config.schema import DEFAULT_SIZE_PX
from vopcli.errors import BusyError, DataError, FileError
from vopcli.files.hdf5 import is_hdf5, read_format_name
from vopcli.files.journal import locked
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.video.sampling import DEFAULT_SAMPLING

_SPARE_BYTES: Final = 4 << 20  # left free on the disk


@contextlib.contextmanager
def opened(request: ExtractRequest) -> Iterator[tuple[FrameStoreWriter, Callable[[], None]]]:
    """Open the store for writing; yield a writer and a function that keeps a new store.

    A new store is deleted on exit unless that function was called. A store that replaces another one does so
    in that call; until then the old one is unchanged.

    Raises:
        DataError: the store cannot be read, or was made with another recipe.
        BusyError: another process reads or writes the store.
        FileError: a new store cannot be created.
    """
    path, recipe = request.store, requested_recipe(request)
    if request.overwrite and path.exists():
        _check_may_be_replaced(path)
        with locked(path), _new_store(_temporary_path(path), path, recipe) as made:
            yield made
    elif not path.exists() and _try_create(path, recipe):
        with _new_store(path, path, recipe) as made:
            yield made
    else:
        with FrameStoreWriter(path) as writer:
            check_recipe(request, writer.recipe)
            yield writer, lambda: None


@contextlib.contextmanager
def _new_store(
    target: Path, path: Path, recipe: Recipe
) -> Iterator[tuple[FrameStoreWriter, Callable[[], None]]]:
    """Open a store that this process has just created; delete it on exit unless it is kept.

    Raises:
        FileError: the store cannot be created.
    """
    kept = []

    def keep() -> None:
        if target != path:
            target.replace(path)
        kept.append(path)

    if target != path and not _try_create(target, recipe):
        raise FileError(target, FileExistsError(errno.EEXIST, "exists"))
    with FrameStoreWriter(target) as writer:
        try:
            yield writer, keep
        finally:
            if not kept:  # while it is locked: no other process can have opened it
                target.unlink(missing_ok=True)


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


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name[:80]}.{os.getpid()}.part")


def read_known(request: ExtractRequest) -> tuple[Recipe, dict[str, Row], list[int]]:
    """Read the store for a dry run, without locking it.

    Returns:
        The recipe, the videos by path, and the free frame slots of each segment.

    Raises:
        DataError: the store cannot be read, or was made with another recipe.
    """
    if request.overwrite or not request.store.exists():
        return requested_recipe(request), {}, []
    store = FrameStore.open(request.store)
    check_recipe(request, store.recipe)
    num_free = [slots - used for slots, used in zip(store.num_slots, store.used_frames, strict=True)]
    return store.recipe, {row.path: row for row in store.rows}, num_free


def check_recipe(request: ExtractRequest, found: Recipe) -> None:
    """Check that the recipe of a store matches the request.

    Raises:
        DataError: an option or setting of the request differs from the store.
    """
    asked, data = requested_recipe(request), request.data
    differences = []
    if request.sampling and asked.sampling != found.sampling:
        differences.append(f"sampling {found.sampling}, not {asked.sampling}")
    if data.size and asked.size != found.size:
        differences.append(f"frames of {found.size} x {found.size} pixels, not {asked.size} x {asked.size}")
    if data.codec and asked.codec != found.codec:
        differences.append(f"codec {found.codec}, not {asked.codec}")
    if data.resize and found.resize != asked.resize:
        differences.append(f"frames resized by {found.resize.value}, not {asked.resize.value}")
    if differences:
        raise DataError(
            f"{request.store} holds {'; '.join(differences)}",
            hint="omit these options and settings, name another file, or use --overwrite",
        )


def requested_recipe(request: ExtractRequest) -> Recipe:
    """Return the recipe of a request, with default values for missing settings.

    Raises:
        UsageError: an option is invalid.
    """
    data = request.data
    codec, resize = data.codec or Codec.RAW, data.resize or Resize.BICUBIC
    size = data.size or DEFAULT_SIZE_PX
    return Recipe(request.sampling or DEFAULT_SAMPLING, size, resize=resize, codec=codec.value)


def _check_may_be_replaced(path: Path) -> None:
    """Check that a file is a frame store, possibly damaged, that no other process uses.

    Raises:
        BusyError: another process uses ``path``.
        FileError: ``path`` cannot be read.
        DataError: ``path`` is not a frame store.
    """
    is_like_one = is_hdf5(path) or path.stat().st_size == 0
    try:
        name = read_format_name(path)
    except (BusyError, FileError):
        raise
    except DataError:
        name = FRAME_FORMAT.name if is_like_one else ""
    if name != FRAME_FORMAT.name:
        raise DataError(
            f"{path} is not a frame store and is not overwritten", hint="is the store named last?"
        )


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
