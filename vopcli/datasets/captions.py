"""The user's own captions, as JSON Lines or CSV with the same columns, matched with a frame store.

    {"video": "cat/one.mp4", "caption": "a cat jumps", "split": "train"}

``video`` is the path below the folder that frames were extracted from, or a unique file name, with or without
its suffix. A video with several lines has several captions. ``split`` is any name; the default is ``train``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vopcli.datasets.filter import note_overlaps
from vopcli.datasets.reading import Problems, iter_lines, iter_table, read_text
from vopcli.datasets.records import TRAIN, AnnotatedSplit, Annotations, SplitReport, build_split, format_names
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import DataError, format_name, format_value

_COLUMNS: Final = ("video", "caption")
_MOST_SPLITS: Final = 100  # more of them mean that the column is not a split
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")
_KNOWN: Final = frozenset({*_COLUMNS, "split"})
_EXAMPLE: Final = '{"video": "cat/one.mp4", "caption": "a cat jumps", "split": "train"}'
_MEND: Final = f"write lines such as {_EXAMPLE}, or CSV with the first line video,caption,split"


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """A caption as written in the file, and its line number from 1."""

    line: int
    video: str
    caption: str
    split: str


@dataclass(frozen=True)
class CaptionFile:
    """Content of a caption file, not yet matched with videos.

    Attributes:
        path: the file.
        lines: its captions, in order.
        notes: irregularities, one line each.
    """

    path: Path
    lines: tuple[CaptionLine, ...]
    notes: tuple[str, ...]


def read_captions(path: Path) -> CaptionFile:
    """Read captions from JSON Lines or CSV, told apart by suffix or first character.

    Raises:
        FileError: the file cannot be read.
        DataError: the file is not UTF-8, lacks a column, has no captions, or has invalid lines, which are
            reported together with their numbers.
    """
    problems = Problems(path)
    text = read_text(path)
    is_table = path.suffix.lower() not in _JSON_SUFFIXES and not text.lstrip().startswith(("{", "["))
    rows = iter_table(path, text, _COLUMNS, problems) if is_table else _json_rows(text, problems)
    lines: list[CaptionLine] = []
    unused: dict[str, None] = {}
    num_without_split = 0
    for number, row in rows:
        unused.update(dict.fromkeys(column for column in row if column not in _KNOWN))
        problem = _problem(row)
        if problem:
            problems.add(number, problem)
            continue
        split = row.get("split") or ""
        num_without_split += not split.strip()
        lines.append(CaptionLine(number, row["video"], row["caption"], split if split.strip() else TRAIN))
    problems.raise_any(hint=_MEND)
    if not lines:
        raise DataError(f"{path} has no captions", hint=_MEND)
    num_splits = len({line.split for line in lines})
    if num_splits > _MOST_SPLITS:
        raise DataError(
            f"{path} has {num_splits} splits, such as {format_value(lines[-1].split)}",
            hint="write few splits, such as train, val and test, in the column split",
        )
    return CaptionFile(path, tuple(lines), tuple(_notes(lines, list(unused), num_without_split)))


def _json_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in iter_lines(text):
        try:
            row = json.loads(line, object_pairs_hook=_row)
        except json.JSONDecodeError as error:
            problems.add(number, f"not JSON: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            problems.add(number, f"unsupported JSON: {format_name(str(error))}")
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                problems.add(number, f"must be an object with video and caption, not {format_value(row)}")


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name occurs twice")
    return row


def _problem(row: Mapping[str, Any]) -> str:
    """Return the problem of a row; empty if it is valid."""
    for column in _COLUMNS:
        if column not in row:
            return f"'{column}' is missing"
        value = row[column]
        if not isinstance(value, str):
            several = ": write one line for each" if isinstance(value, list) else ""
            return f"'{column}' must be text, not {format_value(value)}{several}"
        if not value.strip():
            return f"the {column} is empty"
    split = row.get("split")
    return (
        "" if split is None or isinstance(split, str) else f"'split' must be text, not {format_value(split)}"
    )


def _notes(lines: list[CaptionLine], unused: list[str], num_without_split: int) -> Iterator[str]:
    if num_without_split:
        yield f"{num_without_split} of {len(lines)} lines have no split: '{TRAIN}' is used"
    if unused:
        yield f"unused columns: {format_names([format_value(column) for column in unused])}"


def match_captions(captions: CaptionFile, keys: Iterable[str]) -> Annotations:
    """Match captions with the videos of a frame store.

    Args:
        captions: from `read_captions`.
        keys: paths of the store's videos.

    Returns:
        The splits and their videos in the order of the file. Videos that the store lacks are removed, and
        listed in the report by their names in the file.

    Raises:
        DataError: a name matches several videos, or no name matches any.
    """
    files = VideoFiles(keys)
    problems = Problems(captions.path)
    found = _find_each(captions, files, problems)
    problems.raise_any(hint="write the path of the video as `vop info` prints it")
    if not any(found.values()):
        raise DataError(
            f"the frame store has none of the {len(found)} videos of {captions.path}, "
            f"such as {format_value(captions.lines[0].video)}",
            hint=f"name videos as the store does, such as {format_value(files.example())}",
        )
    by_split: dict[str, list[CaptionLine]] = {}
    for line in captions.lines:
        by_split.setdefault(line.split, []).append(line)
    splits = {name: _build(name, lines, found) for name, lines in by_split.items()}
    return note_overlaps(Annotations(str(captions.path), splits, captions.notes))


def _find_each(captions: CaptionFile, files: VideoFiles, problems: Problems) -> dict[str, str | None]:
    """Return the store's key of each name in the file; None if the store lacks the video."""
    found: dict[str, str | None] = {}
    for line in captions.lines:
        if line.video not in found:
            matching = files.by_any(line.video)
            if len(matching) > 1:
                problems.add(
                    line.line,
                    f"{format_value(line.video)} matches {format_names(matching, 3).replace(', ', ' and ')}",
                )
            found[line.video] = matching[0] if matching else None
    return found


def _build(name: str, lines: list[CaptionLine], found: Mapping[str, str | None]) -> AnnotatedSplit:
    by_video: dict[str, list[str]] = {}
    missing: dict[str, None] = {}
    repeated = []
    seen: set[tuple[str, str]] = set()
    for line in lines:
        video = found[line.video]
        if video is None:
            missing[line.video] = None
            continue
        by_video.setdefault(video, []).append(line.caption)
        if (video, line.caption) in seen:
            repeated.append(str(line.line))
        seen.add((video, line.caption))
    notes = [f"{len(repeated)} lines repeat an earlier one: {format_names(repeated)}"] if repeated else []
    split = build_split(name, list(by_video), by_video, notes=notes)
    num_listed = len(by_video) + len(missing)
    report: SplitReport = replace(
        split.report,
        num_listed=num_listed,
        num_with_captions=num_listed,
        num_with_file=len(by_video),
        without_file=tuple(missing),
    )
    return AnnotatedSplit(tuple(replace(one, file=one.video) for one in split.videos), report)
