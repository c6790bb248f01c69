"""``vop info``: describe and verify the files of this program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vopcli.cli import console, options
from vopcli.errors import DataError, FileError, WeightsError
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.search.stores import EngineIndex


def info(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Frame store, index, adapter, run, saved scores or weights."),
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare all checksums; exit with 3 if the file is damaged.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Describe or verify a frame store, index, adapter, run, saved scores or weights."""
    found = describe_file(file, console.progress(quiet=quiet), verify=verify)
    if as_json:
        console.print_json(found.description | ({"problems": found.problems} if verify else {}))
    else:
        console.print_table(["", ""], _rows(found.description))
    if found.problems:
        listed = "; ".join(found.problems[:10]) + ("; ..." if len(found.problems) > 10 else "")
        raise DataError(f"{file} is damaged: {listed}", hint="copy it again, or recreate it with --overwrite")
    if verify and not quiet:
        console.say(f"{file} is intact")


def _rows(description: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for name, value in description.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(not isinstance(item, dict) for item in value):
            rows.append([prefix + name, ", ".join(map(str, value))])
        elif isinstance(value, list):
            rows.append([prefix + name, str(len(value))])
            rows += [[f"{prefix}{name}", ": ".join(map(str, item.values()))] for item in value]
        else:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            rows.append([prefix + name, f"{value:,}" if is_number else str(value)])
    return rows


@dataclass(frozen=True)
class FileInfo:
    """Description of a file.

    Attributes:
        description: JSON values by name; "kind" is the kind of file.
        problems: a sentence per damaged part; empty if the file is intact or was not verified.
    """

    description: dict[str, Any]
    problems: list[str] = field(default_factory=list)


def describe_file(path: Path, progress: Progress, *, verify: bool = False) -> FileInfo:
    """Describe a frame store, an index, saved scores, an adapter file, a run, or weights.

    Args:
        path: the file; a run is a folder, weights may be one.
        progress: shows the progress of verification.
        verify: compare all checksums.

    Raises:
        DataError: `path` is another kind of file, or too damaged to be opened.
        BusyError: another process keeps changing `path`.
    """
    from vopcli.evaluation.runs import check_finished
    from vopcli.files.hdf5 import is_hdf5, read_format_name
    from vopcli.methods.adapter_file import is_adapter
    from vopcli.search.stores import store_of

    if store := store_of(path):
        return _in_engine(store.open(), progress, verify)
    if is_hdf5(path):
        name = read_format_name(path)
        describe = _KINDS.get(name)
        if describe is None:
            origin = f"of the unknown format {name}" if name else "of another program"
            raise DataError(
                f"{path} is an HDF5 file {origin}", hint="name a frame store, an index, or weights"
            )
        return describe(path, progress, verify)
    check_finished(path)
    return _adapter(path) if is_adapter(path) else _weights(path)


def _frame_store(path: Path, progress: Progress, verify: bool) -> FileInfo:  # noqa: FBT001
    from vopcli.frames.store import FrameStore
    from vopcli.video.video_file import WHOLE

    store = FrameStore(path)
    num_slots, each = sum(store.num_slots), store.recipe.candidates
    windows = store.windows
    rows = store.videos + windows
    description = {
        "kind": "vop-frames",
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "disk_bytes": path.stat().st_blocks * 512,
        "recipe": store.recipe.to_json(),
        "segments": len(store.segments),
        "videos": len(store.videos),
        "windows": len(windows),
        "frames": each * sum(row.num_frames for row in rows),
        "repeated_frames": each * sum(row.num_frames - row.num_real for row in rows),
        "duration_seconds": sum(video.duration_seconds for video in store.videos),
        "videos_with_window": sum(video.window != WHOLE for video in store.videos),
        "videos_with_bad_packets": sum(video.num_bad_packets > 0 for video in store.videos),
        "free_frames": num_slots - sum(store.used_frames),
        "unfinished": store.num_unfinished,
        "damaged_rows": store.num_damaged_rows,
        "failed": [{"video": path, "reason": reason} for path, reason in store.failures],
    }
    return FileInfo(description, store.verify(progress) if verify else [])


def _index(path: Path, progress: Progress, verify: bool) -> FileInfo:  # noqa: FBT001
    from vopcli.index.check import describe_index, verify_index
    from vopcli.index.reader import VideoIndex
    from vopcli.search.query_bank import describe_bank

    description = describe_index(path) | {"querybank": describe_bank(VideoIndex(path))}
    return FileInfo(description, verify_index(path, progress) if verify else [])


def _in_engine(index: EngineIndex, progress: Progress, verify: bool) -> FileInfo:  # noqa: FBT001
    from vopcli.index.check import verify_rows
    from vopcli.search.query_bank import describe_bank

    description = index.describe() | {"querybank": describe_bank(index)}
    return FileInfo(description, verify_rows(index, progress) if verify else [])


def _similarities(path: Path, *_: object) -> FileInfo:
    from vopcli.evaluation.score_file import describe_scores

    # Reading scores compares their checksums: nothing is left to verify.
    return FileInfo(describe_scores(path))


def _adapter(path: Path) -> FileInfo:
    from vopcli.config.load import to_dict
    from vopcli.methods.adapter_file import read_adapter

    # Reading an adapter compares its checksum: nothing is left to verify.
    adapter = read_adapter(path)
    description = {
        "kind": "vop-adapter",
        "path": str(path),
        "variant": adapter.tuning.variant.value,
        "tuning": to_dict(adapter.tuning),
        "num_frames": adapter.num_frames,
        "recipe": adapter.recipe,
        "max_tokens": adapter.max_tokens,
        "backbone": adapter.fingerprint,
        "sha256": adapter.sha256,
        "tensors": len(adapter.tensors),
        "trained": sum(tensor.size for tensor in adapter.tensors.values()),
    }
    return FileInfo(description)


def _weights(path: Path) -> FileInfo:
    from vopcli.weights.library import describe_weights
    from vopcli.weights.reader import read_weights

    try:
        description = describe_weights(read_weights(path))
    except FileError:
        raise
    except WeightsError as error:
        raise DataError(
            f"{path} is not a frame store, index, adapter or weights: {error}",
            hint="name a file made by vop, or CLIP weights",
        ) from error
    return FileInfo({**description, "kind": "weights", "container": description["kind"]})


_KINDS: Final[dict[str, Callable[[Path, Progress, bool], FileInfo]]] = {
    "vop-frames": _frame_store,
    "vop-index": _index,
    "vop-similarities": _similarities,
}
