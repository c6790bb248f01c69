"""VATEX with the splits of HGR: ten English captions for each video."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vopcli.datasets.reading import read_caption_map, read_ids, require_annotation_file
from vopcli.datasets.records import TEST, TRAIN, VAL, AnnotatedSplit, build_split, note_caption_counts

SPLITS: Final = (TRAIN, VAL, TEST)
OPTIONAL_LISTS: Final = {VAL: "val_list.txt"}  # releases without it use the test videos for validation
_USUAL_CAPTIONS: Final = 10


def read(root: Path, split: str) -> AnnotatedSplit:
    """Read a split in the order of its list."""
    ids, notes = read_ids(require_annotation_file(root, f"{split}_list.txt"))
    captions = read_caption_map(require_annotation_file(root, "ref_captions.json"))
    return note_caption_counts(build_split(split, ids, captions, notes=notes), _USUAL_CAPTIONS)
