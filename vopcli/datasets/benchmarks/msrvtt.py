"""MSR-VTT: the 9k or the 7k list for training, and the 1000 test videos of JSFusion ("1k-A")."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vopcli.datasets.reading import (
    ShapeError,
    deduplicate_ids,
    read_json,
    read_table,
    require_annotation_file,
)
from vopcli.datasets.records import TEST, TRAIN, AnnotatedSplit, build_split, note_caption_counts
from vopcli.errors import format_value

SPLITS: Final = (TRAIN, TEST)
CAPTIONS_FILE: Final = "MSRVTT_data.json"
TEST_FILE: Final = "MSRVTT_JSFUSION_test.csv"
_USUAL_CAPTIONS: Final = 20


def read_9k(root: Path, split: str) -> AnnotatedSplit:
    """Read a split; the training split is all videos but the 1000 test videos."""
    return _read(root, split, "MSRVTT_train.9k.csv")


def read_7k(root: Path, split: str) -> AnnotatedSplit:
    """Read a split; the training split is the official training and validation videos."""
    return _read(root, split, "MSRVTT_train.7k.csv")


def _read(root: Path, split: str, train_file: str) -> AnnotatedSplit:
    return _read_test(root) if split == TEST else _read_train(root, train_file)


def _read_train(root: Path, train_file: str) -> AnnotatedSplit:
    path = require_annotation_file(root, train_file)
    ids, notes = deduplicate_ids(path, [row["video_id"].strip() for row in read_table(path, ["video_id"])])
    captions = _captions(require_annotation_file(root, CAPTIONS_FILE))
    return note_caption_counts(build_split(TRAIN, ids, captions, notes=notes), _USUAL_CAPTIONS)


def _read_test(root: Path) -> AnnotatedSplit:
    path = require_annotation_file(root, TEST_FILE)
    captions: dict[str, list[str]] = {}
    for row in read_table(path, ["video_id", "sentence"]):
        captions.setdefault(row["video_id"].strip(), []).append(row["sentence"])
    ids, notes = deduplicate_ids(path, list(captions))
    return note_caption_counts(build_split(TEST, ids, captions, notes=notes), 1)


def _captions(path: Path) -> dict[str, list[str]]:
    """Return the captions by video, in the order of the file.

    Raises:
        ShapeError: the document is not an MSR-VTT annotation.
    """
    document = read_json(path)
    sentences = document.get("sentences") if isinstance(document, dict) else None
    if not isinstance(sentences, list):
        raise ShapeError(path, "must be an object with a list of 'sentences'")
    captions: dict[str, list[str]] = {}
    for number, sentence in enumerate(sentences):
        fields = sentence if isinstance(sentence, dict) else {}
        video, caption = fields.get("video_id"), fields.get("caption")
        if not (isinstance(video, str) and isinstance(caption, str)):
            raise ShapeError(
                path,
                f"sentence {number} must have a 'video_id' and a 'caption', not {format_value(sentence)}",
            )
        captions.setdefault(video, []).append(caption)
    return captions
