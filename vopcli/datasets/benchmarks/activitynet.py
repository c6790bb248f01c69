"""ActivityNet Captions, tested on val_1: queries are paragraphs, or the sentences that these consist of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from vopcli.datasets.reading import (
    ShapeError,
    deduplicate_ids,
    note_unlisted,
    read_json,
    require_annotation_file,
)
from vopcli.datasets.records import TEST, TRAIN, AnnotatedSplit, build_split, join_sentences
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import format_value
from vopcli.video.video_file import TimeWindow

SPLITS: Final = (TRAIN, TEST)
DGL_SKIPPED: Final = ("NHznDFD3V3k",)  # broken; DGL skips it in the test split
_FILES: Final = {TRAIN: ("train_ids.json", "train.json"), TEST: ("val_ids.json", "val_1.json")}
_MOST_SECONDS: Final = 1e6
_PREFIX: Final = "v_"


def read(
    root: Path, split: str, unite: Callable[[Sequence[str]], list[str]] = join_sentences
) -> AnnotatedSplit:
    """Read a split in the order of its list of ids; videos are named by their ids without the leading ``v_``.

    Sentences keep the order of the file. ``unite`` makes captions of those of a video: by default one, joined
    by spaces, though most sentences begin with one already.
    """
    ids_path, captions_path = (require_annotation_file(root, name) for name in _FILES[split])
    ids, notes = deduplicate_ids(ids_path, _ids(ids_path))
    entries = _entries(captions_path)
    notes += note_unlisted(captions_path, entries, ids_path, ids)
    captions = {video: unite(sentences) for video, (sentences, _) in entries.items()}
    windows = {video: TimeWindow(0.0, float(math.ceil(seconds))) for video, (_, seconds) in entries.items()}
    return build_split(split, ids, captions, windows=windows, notes=notes)


def candidates(files: VideoFiles, video: str) -> tuple[str, ...]:
    """Return the files that match the id of a video, without or with the leading ``v_``."""
    return files.by_stem(video) or files.by_stem(_PREFIX + video)


def _ids(path: Path) -> list[str]:
    """Return the listed ids.

    Raises:
        ShapeError: the document is not a list of ids.
    """
    document = read_json(path)
    if not isinstance(document, list):
        raise ShapeError(path, "must be a list of ids")
    return [_without_prefix(path, video) for video in document]


def _without_prefix(path: Path, video: object) -> str:
    if not (isinstance(video, str) and video.startswith(_PREFIX) and video != _PREFIX):
        raise ShapeError(path, f"an id must begin with '{_PREFIX}', unlike {format_value(video)}")
    return video.removeprefix(_PREFIX)


def _entries(path: Path) -> dict[str, tuple[list[str], float]]:
    """Return each video's sentences and its length in seconds.

    Raises:
        ShapeError: the document does not map ids to captions.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ShapeError(path, "must map each id to its sentences")
    return {_without_prefix(path, video): _entry(path, video, entry) for video, entry in document.items()}


def _entry(path: Path, video: str, entry: Any) -> tuple[list[str], float]:
    fields = entry if isinstance(entry, dict) else {}
    sentences, seconds = fields.get("sentences"), fields.get("duration")
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise ShapeError(
            path, f"{format_value(video)} must have a list of 'sentences', not {format_value(sentences)}"
        )
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < _MOST_SECONDS:
        raise ShapeError(
            path, f"{format_value(video)} must have a 'duration' in seconds, not {format_value(seconds)}"
        )
    return sentences, seconds
