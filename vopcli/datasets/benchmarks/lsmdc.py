"""LSMDC: a sentence for each clip cut out of a film, tested on the 1000 of the challenge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from vopcli.datasets.reading import Problems, decode_line, deduplicate_ids, require_annotation_file
from vopcli.datasets.records import TEST, TRAIN, VAL, AnnotatedSplit, build_split, format_names
from vopcli.files.atomic import read_bytes

SPLITS: Final = (TRAIN, VAL, TEST)
FILES: Final = {
    TRAIN: "LSMDC16_annos_training.csv",
    VAL: "LSMDC16_annos_val.csv",
    TEST: "LSMDC16_challenge_1000_publictect.csv",  # sic
}

# X-Pool leaves this one out, so that it tests with 999 sentences; another reader leaves out both.
XPOOL_SKIPPED: Final = ("1012_Unbreakable_00.05.16.065-00.05.21.941",)
UNBREAKABLE_SKIPPED: Final = (*XPOOL_SKIPPED, "1012_Unbreakable_00.24.58.622-00.25.06.004")
# DGL names these clips of the training list as broken.
DGL_SKIPPED: Final = (
    "1038_The_Great_Gatsby_01.22.15.059-01.22.21.087",
    "0014_Ist_das_Leben_nicht_schoen_01.28.37.413-01.28.53.788",
)

_NUM_FIELDS: Final = 6
_TIMES = re.compile(r".+_\d\d\.\d\d\.\d\d\.\d{3}-\d\d\.\d\d\.\d\d\.\d{3}", re.ASCII)


def read(root: Path, split: str) -> AnnotatedSplit:
    """Read a split: tabs between the fields, whatever the suffix says, and quotes that mean nothing.

    A clip that several lines name has several captions, and stands where it is named first.
    """
    path = require_annotation_file(root, FILES[split])
    captions, notes = _read_lines(path)
    ids, _ = deduplicate_ids(path, list(captions))
    odd = [clip for clip in ids if not _TIMES.fullmatch(clip)]
    if odd:
        notes.append(f"{len(odd)} ids do not end in the times of a clip: {format_names(odd)}")
    repeated = [clip for clip in ids if len(captions[clip]) > 1]
    if repeated:
        notes.append(f"{len(repeated)} clips stand on several lines: {format_names(repeated)}")
    return build_split(split, ids, captions, notes=notes)


def _read_lines(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    captions: dict[str, list[str]] = {}
    latin, quoted = [], []
    problems = Problems(path)
    for number, raw in enumerate(read_bytes(path).split(b"\n"), start=1):
        line, is_utf8 = decode_line(raw, number)
        if not line.strip():
            continue
        if not is_utf8:
            latin.append(str(number))
        fields = line.strip().split("\t")
        if len(fields) != _NUM_FIELDS:
            missing = ": the sentence is empty" if len(fields) == _NUM_FIELDS - 1 else ""
            problems.add(number, f"{len(fields)} fields instead of {_NUM_FIELDS}, separated by tabs{missing}")
            continue
        clip = fields[0].strip()
        if clip.startswith('"'):
            quoted.append(str(number))
        captions.setdefault(clip.lstrip('"'), []).append(fields[-1])
    problems.raise_any(hint="mend or remove these lines, or get the file again")
    notes = []
    if latin:
        notes.append(f"{len(latin)} lines are not UTF-8, read as Latin-1: {format_names(latin)}")
    if quoted:
        notes.append(
            f"{len(quoted)} lines begin with a stray quote, which was dropped: {format_names(quoted)}"
        )
    return captions, notes
