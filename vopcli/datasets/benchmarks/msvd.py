"""MSVD: about 40 captions for each video, from X-Pool's JSON or the pickle of CLIP4Clip's release."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vopcli.datasets.reading import (
    find_annotation_file,
    parse_caption_map,
    read_caption_map,
    read_ids,
    require_annotation_file,
)
from vopcli.datasets.records import TEST, TRAIN, VAL, AnnotatedSplit, build_split
from vopcli.files.plain_pickle import read_plain_pickle

SPLITS: Final = (TRAIN, VAL, TEST)
JSON_FILE: Final = "captions_msvd.json"
PICKLE_FILE: Final = "raw-captions.pkl"


def read(root: Path, split: str) -> AnnotatedSplit:
    """Read a split in the order of its list; the JSON file is preferred to the pickle."""
    ids, notes = read_ids(require_annotation_file(root, f"{split}_list.txt"))
    path = require_annotation_file(root, JSON_FILE, PICKLE_FILE)
    if path.name == JSON_FILE:
        captions = read_caption_map(path)
        if find_annotation_file(root, PICKLE_FILE):
            notes.append(f"{PICKLE_FILE} exists too: {JSON_FILE} was read")
    else:
        captions = parse_caption_map(path, read_plain_pickle(path))
    return build_split(split, ids, captions, notes=notes)
