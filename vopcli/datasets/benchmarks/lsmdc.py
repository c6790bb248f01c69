"""LSMDC: one sentence for each segment of a film; the test split is the challenge's 1000 segments."""

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

# X-Pool skips the first and so tests on 999 sentences; another reader skips both.
XPOOL_SKIPPED: Final = ("1012_Unbreakable_00.05.16.065-00.05.21.941",)
UNBREAKABLE_SKIPPED: Final = (*XPOOL_SKIPPED, "1012_Unbreakable_00.24.58.622-00.25.06.004")
# DGL lists these training segments as broken.
DGL_SKIPPED: Final = (
    "1038_The_Great_Gatsby_01.22.15.059-01.22.21.087",
    "0014_Ist_das_Leben_nicht_schoen_01.28.37.413-01.28.53.788",
)

_NUM_FIELDS: Final = 6
_TIMES = re.compile(r".+_\d\d\.\d\d\.\d\d\.\d{3}-\d\d\.\d\d\.\d\d\.\d{3}", re.ASCII)


def read(root: Path, split: str) -> AnnotatedSplit:
    """Read a split. Despite the suffix, fields are separated by tabs and quotes have no meaning.

    A segment with several lines has several captions, at the position of the first line.
    """
    path = require_annotation_file(root, FILES[split])
    captions, notes = _read_lines(path)
    ids, _ = deduplicate_ids(path, list(captions))
    odd = [segment for segment in ids if not _TIMES.fullmatch(segment)]
    if odd:
        notes.append(f"{len(odd)} ids do not end in the times of a segment: {format_names(odd)}")
    repeated = [segment for segment in ids if len(captions[segment]) > 1]
    if repeated:
        notes.append(f"{len(repeated)} segments have several lines: {format_names(repeated)}")
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
        segment = fields[0].strip()
        if segment.startswith('"'):
            quoted.append(str(number))
        captions.setdefault(segment.lstrip('"'), []).append(fields[-1])
    problems.raise_any(hint="correct or remove these lines, or download the file again")
    notes = []
    if latin:
        notes.append(f"{len(latin)} lines are not UTF-8 and were read as Latin-1: {format_names(latin)}")
    if quoted:
        notes.append(
            f"{len(quoted)} lines begin with a stray quote, which was removed: {format_names(quoted)}"
        )
    return captions, notes
