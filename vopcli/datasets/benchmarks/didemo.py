"""DiDeMo: the descriptions of a video, joined into a paragraph or single, and its first 31 seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vopcli.datasets.reading import (
    ShapeError,
    note_unlisted,
    read_ids,
    read_json,
    require_annotation_file,
)
from vopcli.datasets.records import TEST, TRAIN, VAL, AnnotatedSplit, build_split, join_sentences
from vopcli.datasets.video_files import VideoFiles, stem
from vopcli.errors import format_value
from vopcli.video.video_file import TimeWindow

SPLITS: Final = (TRAIN, VAL, TEST)
WINDOW: Final = TimeWindow(0.0, 31.0)  # the annotators saw the first 30 seconds

# DGL skips these training videos, which are no longer available.
DGL_SKIPPED: Final = (
    "37996615073@N01_3336195519_579ea4136c.3gp",
    "44124421772@N01_2867159874_e39e716b7e.mpg",
    "59627558@N00_4659075184_253744838b.3gp",
)


def read(
    root: Path, split: str, unite: Callable[[Sequence[str]], list[str]] = join_sentences
) -> AnnotatedSplit:
    """Read a split: the listed videos, in the order of their first descriptions.

    Videos are named by their file names with suffixes; some names end in a bare dot. ``unite`` makes
    captions of the descriptions of a video: by default one, joined by spaces.
    """
    list_path = require_annotation_file(root, f"{split}_list.txt")
    ids, notes = read_ids(list_path)
    data_path = require_annotation_file(root, f"{split}_data.json")
    descriptions = _descriptions(data_path)
    notes += note_unlisted(data_path, descriptions, list_path, ids)
    position = {video: number for number, video in enumerate(descriptions)}
    ordered = sorted(ids, key=lambda video: position.get(video, len(position)))
    captions = {video: unite(texts) for video, texts in descriptions.items()}
    return build_split(split, ordered, captions, windows=dict.fromkeys(ordered, WINDOW), notes=notes)


def candidates(files: VideoFiles, video: str) -> tuple[str, ...]:
    """Return the files that match a video by name, by name plus another suffix, or by stem."""
    return files.by_name(video) or files.by_stem(video) or files.by_stem(stem(video))


def _descriptions(path: Path) -> dict[str, list[str]]:
    """Return the descriptions by video, in the order of the file, which is not that of time.

    Raises:
        ShapeError: the document is not a list of descriptions.
    """
    document = read_json(path)
    if not isinstance(document, list):
        raise ShapeError(path, "must be a list of descriptions")
    descriptions: dict[str, list[str]] = {}
    for number, row in enumerate(document):
        fields = row if isinstance(row, dict) else {}
        video, description = fields.get("video"), fields.get("description")
        if not (isinstance(video, str) and isinstance(description, str)):
            raise ShapeError(
                path, f"entry {number} must have a 'video' and a 'description', not {format_value(row)}"
            )
        descriptions.setdefault(video, []).append(description)
    return descriptions
