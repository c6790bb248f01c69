"""Create the folder of the demo set: videos, captions, settings, and the commands to try."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vopcli.config.choices import Variant
from vopcli.datasets.demo.drawing import draw_video, write_video
from vopcli.datasets.demo.scenes import DemoVideo, plan_demo
from vopcli.errors import FileError, UsageError
from vopcli.files.atomic import atomic_path, beside
from vopcli.progress import Progress

VIDEOS: Final = "videos"
CAPTIONS: Final = "captions.jsonl"
SETTINGS_NAME: Final = "vop.yaml"
STORE: Final = "out.h5"
INDEX: Final = "idx.h5"
_MARK: Final = "demo.json"  # marks a demo folder and stores its seed
_MARK_BYTES: Final = 4096
_VERSION: Final = 3  # of the content of the videos, the same for all of a folder

TUNED_INDEX: Final = "tuned.h5"
TUNED_VARIANT: Final = Variant.C
TUNED_EPOCHS: Final = 12
STUDY: Final = "study"  # folder of the runs of all variants and their results
RUN: Final = f"runs/{TUNED_VARIANT.value}-seed0"

COMMANDS: Final = (
    f"vop extract-frames {VIDEOS}/ {STORE}",
    f"vop encode {STORE} {INDEX}",
    f'vop search "a red circle" --index {INDEX}',
    f"vop train --variant {TUNED_VARIANT.value} --epochs {TUNED_EPOCHS}",
    f"vop eval zero-shot {RUN}",
    f"vop encode {STORE} {TUNED_INDEX} --adapter {RUN}",
    f'vop search "a red circle goes to the right" --index {TUNED_INDEX}',
)

_SETTINGS_TEXT: Final = f"""\
# Settings of the demo set; every command that is run in this folder reads them.
backbone: {{weights: demo-tiny}}  # a tiny CLIP that knows six colours, four shapes, two sizes and places
data: {{frames: {STORE}, captions: {CAPTIONS}, size: 48}}
tuning: {{split_layer: 1}}  # of the four layers of demo-tiny; the default suits the twelve of ViT-B/32
training: {{val_share: 0.2}}  # of a small set a tenth would be too few to choose the best epoch on
search: {{index: {INDEX}}}
"""


@dataclass(frozen=True)
class DemoRequest:
    """Folder of the demo set, and the seed of its content."""

    folder: Path
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class DemoSummary:
    """Content of the folder, and the commands to try there."""

    folder: Path
    seed: int
    num_videos: int
    num_written: int
    num_captions: int
    commands: tuple[str, ...]


def make_demo(
    request: DemoRequest, *, progress: Progress, pairs: Sequence[tuple[DemoVideo, DemoVideo]] | None = None
) -> DemoSummary:
    """Write the demo set, or complete that of an interrupted run with the same seed.

    Existing videos are kept, and so are settings that the user has changed.

    Args:
        request: the folder and the seed.
        progress: receives the number of videos.
        pairs: videos with their reverses; None: the whole demo set.

    Raises:
        UsageError: the folder has other files, or the demo set of another seed.
        FileError: the folder cannot be written.
    """
    folder = request.folder
    pairs = list(plan_demo(seed=request.seed)) if pairs is None else pairs
    videos = [video for pair in pairs for video in pair]
    try:
        mark = {"format": "vop-demo", "version": _VERSION, "seed": request.seed}
        _check_folder(request, mark)
        if request.overwrite:  # inside the folder, whose parent may be on another disk or not writable
            with beside(folder / VIDEOS, progress) as new:
                if _read_mark(new / _MARK) != mark:
                    shutil.rmtree(new, ignore_errors=True)
                num_written = _write(new, mark, pairs, progress)
                _replace_made(folder, new)
        else:
            num_written = _write(folder, mark, pairs, progress)
    except OSError as error:
        raise FileError(error.filename or folder, error) from error
    num_captions = sum(len(video.captions) for video in videos)
    return DemoSummary(folder, request.seed, len(videos), num_written, num_captions, COMMANDS)


def _check_folder(request: DemoRequest, mark: dict[str, Any]) -> None:
    """Check that the folder is new, a demo folder with this mark, or to be overwritten.

    Raises:
        UsageError: the folder has other files.
    """
    folder = request.folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="pass a folder")
    folder.mkdir(parents=True, exist_ok=True)
    found = _read_mark(folder / _MARK)
    if found != mark and any(folder.iterdir()) and not request.overwrite:
        if found.get("format") == mark["format"]:
            seed = found.get("seed")
            difference = "another version" if seed == request.seed else f"seed {seed}, not {request.seed}"
            raise UsageError(
                f"{folder} has the demo set of {difference}",
                hint="pass another folder, or replace this one with --overwrite",
            )
        raise UsageError(
            f"{folder} is not empty",
            hint="pass a new folder, or add the demo's files to this one with --overwrite",
        )


def _write(
    folder: Path, mark: dict[str, Any], pairs: Sequence[tuple[DemoVideo, DemoVideo]], progress: Progress
) -> int:
    """Mark a folder and write the files that it lacks; return the number of written videos."""
    videos = [video for pair in pairs for video in pair]
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(folder / _MARK, json.dumps(mark) + "\n")
    num_written = 0
    with progress.task("Drawing videos", total=len(videos), unit="videos") as task:
        for pair in pairs:
            num_written += _write_missing(folder, pair)
            task.advance(len(pair))
    _write_text(folder / CAPTIONS, "".join(f"{line}\n" for line in _caption_lines(videos)))
    if not (folder / SETTINGS_NAME).exists():
        _write_text(folder / SETTINGS_NAME, _SETTINGS_TEXT)
    return num_written


def _replace_made(folder: Path, new: Path) -> None:
    """Move the files of ``new`` to ``folder``, and remove the results of the demo's commands there.

    The mark is removed first and moved last: without it a killed replacement is not taken for a demo set.
    """
    for name in (_MARK, STORE, INDEX, TUNED_INDEX):
        (folder / name).unlink(missing_ok=True)
    for run in (folder / RUN, folder / STUDY):
        if run.exists():
            shutil.rmtree(run)
    made = [path.relative_to(new) for path in new.rglob("*") if path.is_file() and path.name != _MARK]
    for path in (*made, Path(_MARK)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).replace(folder / path)


def _read_mark(path: Path) -> dict[str, Any]:
    """Return the mark of a demo folder; empty for any other folder."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MARK_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _write_missing(folder: Path, pair: tuple[DemoVideo, DemoVideo]) -> int:
    """Write a video and its reverse unless they exist; return the number of written files."""
    paths = [folder / VIDEOS / video.name for video in pair]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    frames = draw_video(pair[0]) if missing else []
    for number in missing:
        write_video(paths[number], frames if number == 0 else frames[::-1])
    return len(missing)


def _caption_lines(videos: list[DemoVideo]) -> Iterator[str]:
    for video in videos:
        for caption in video.captions:
            yield json.dumps({"video": video.name, "caption": caption, "split": video.split})


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
