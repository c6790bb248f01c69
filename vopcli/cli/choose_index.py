"""The index that ``vop search`` reads: the one that is named, that of a folder, or the only one here."""

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config, DataConfig
from vopcli.errors import BusyError, DataError, FileError, UsageError
from vopcli.files.hdf5 import is_hdf5
from vopcli.index.folder import OWN_INDEX, count_changes, indexes_in, own_index
from vopcli.index.leftovers import failures_of
from vopcli.index.reader import VideoIndex
from vopcli.resources import cache_folder, set_threads
from vopcli.search.stores import is_in_engine
from vopcli.video.find_videos import check_found, find_videos
from vopcli.video.video_file import VideoFile


def choose_index(context: typer.Context, named: str | None) -> Path:
    """Return the index to search without a folder of videos; print its name unless --index gives it.

    Args:
        context: of a command with the option --index.
        named: the index of --index, VOP_INDEX or vop.yaml.

    Raises:
        UsageError: no index is found, or several.
        DataError: the index of VOP_INDEX or vop.yaml does not exist.
    """
    if named and options.is_given(context, "index"):
        return Path(named)
    path = Path(named) if named else _index_here()
    if not path.exists() and not is_in_engine(path):
        raise DataError(
            f"{path}, the index of VOP_INDEX or vop.yaml, does not exist", hint="name another with --index"
        )
    console.say(f"Index: {path}")
    return path


def _index_here() -> Path:
    here = Path.cwd()
    own = own_index([here], cache_folder())
    if own.exists():
        _note_changes(own, here)
        return OWN_INDEX if own == here / OWN_INDEX else own
    found = indexes_in(Path())
    if len(found) > 1:
        names = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
        raise UsageError(f"there are several indexes here: {names}", hint="choose one with --index")
    if not found:
        raise UsageError(
            "no index is named, and there is none here",
            hint='name a folder of videos, as in vop search "a dog" ~/videos; or an index, with --index, '
            "VOP_INDEX, or search.index in vop.yaml",
        )
    return found[0]


def _note_changes(path: Path, folder: Path) -> None:
    try:
        num_changed, _ = count_changes(VideoIndex(path), find_videos([folder], lambda *_: None))
    except DataError:  # opening it for the search reports the reason
        return
    if num_changed:
        age = format_age(time.time() - path.stat().st_mtime)
        console.say(
            f"{num_changed} videos are new or changed since the index was updated {age} ago; update it with "
            "`vop search QUERY .`"
        )


def format_age(seconds: float) -> str:
    """Write a duration in its largest unit, such as 3 days."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' * (count > 1)}"
    return "less than a minute"


def index_videos(query: str, sources: Sequence[Path], config: Config, weights: str | None) -> Path:
    """Update the index that `vop search` keeps of folders or videos, and return its path.

    Without changes, sizes and times of the files are compared, and no model is loaded.

    Args:
        query: for messages.
        sources: folders, videos, and lists of videos.
        config: settings of a new index; an existing one keeps its model and its frames.
        weights: name or path of the model of a new index; None: that of the settings.

    Raises:
        UsageError: a source is an index, or most likely a word of the query.
        DataError: a source does not exist, the sources have no video, or the index is damaged.
    """
    check_sources(query, sources)
    absolute = [Path(os.path.realpath(source)) for source in sources]
    path = own_index(absolute, cache_folder())
    unreadable: list[tuple[str, str]] = []
    found = find_videos(absolute, lambda name, reason: unreadable.append((name, reason)))
    check_found(found, sources, unreadable)
    for name, reason in unreadable:
        console.say(f"Failed: {name}: {reason}")
    try:
        _update(path, absolute, found, config, weights)
    except BusyError:
        if not path.exists():
            raise
        console.say(f"{path} is being updated by another process: the answer is from its last state")
    return path


def index_of(folder: Path, config: Config, weights: str | None, watch: Path | None) -> Path:
    """Update the index of a folder like `index_videos`; if it is watched, wait until it has a video.

    Raises:
        DataError: the folder cannot be watched; or see `index_videos`.
    """
    if watch and folder.samefile(watch) and not find_videos([folder], lambda *_: None):
        from vopcli.web.watch import iter_changes

        console.say(f"{folder} has no video: waiting for the first one (Ctrl-C stops)")
        try:
            next(changes for changes in iter_changes(folder) if find_videos([folder], lambda *_: None))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{folder} cannot be watched: {error}", hint="omit --watch") from error
    return index_videos("", [folder], config, weights)


def check_sources(query: str, sources: Sequence[Path]) -> None:
    """Check that sources are folders or videos; words of an unquoted query are not.

    Raises:
        UsageError: a source is an index, on S3, or most likely a word of the query.
        DataError: a source does not exist.
    """
    options.check_local(sources)
    missing = [source for source in sources if not source.exists()]
    if missing:
        words = " ".join([query, *map(str, sources)])
        is_word = " " not in query and os.sep not in str(missing[0])
        raise (UsageError if is_word else DataError)(
            f"{missing[0]} is neither a folder nor a video",
            hint=f'quote a query of several words: vop search "{words}"; or check the name of the folder',
        )
    for source in sources:
        if is_hdf5(source):
            raise UsageError(f"{source} is not a video", hint=f"name an index with --index {source}")


def _update(
    path: Path, sources: list[Path], found: list[VideoFile], config: Config, weights: str | None
) -> None:
    num_gone, exists = 0, path.exists()
    if exists:
        index = VideoIndex(path)
        num_changed, num_gone = count_changes(index, found)
        if not num_changed and not num_gone:
            _say_failed(len(failures_of(index)), found)
            return
    from vopcli.encoding.encode import encode
    from vopcli.encoding.request import EncodeRequest

    set_threads(config.backbone.threads)
    if exists:
        kept = DataConfig(max_pixels=config.data.max_pixels, workers=config.data.workers)
        backbone = replace(config.backbone, weights=None, activation=None)
        config = replace(config, data=kept, backbone=backbone)
    elif weights:
        config = replace(config, backbone=replace(config.backbone, weights=weights))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(path.parent, error) from error
    try:
        summary = encode(
            EncodeRequest(sources, path, config, prune=num_gone > 0), console.progress(quiet=False)
        )
    except BaseException:
        with contextlib.suppress(OSError):  # such as that of a folder with an index
            path.parent.rmdir()
        raise
    _say_failed(len(summary.failures) + len(summary.failed_before), found)


def _say_failed(num_failed: int, found: list[VideoFile]) -> None:
    if num_failed:
        console.say(f"{num_failed} of {len(found)} videos failed and are not searched")
