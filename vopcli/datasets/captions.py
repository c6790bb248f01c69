"""The user's own captions, as JSON Lines or CSV with the same columns, matched with a frame store.

    {"video": "cat/one.mp4", "caption": "a cat jumps", "split": "train"}

``video`` is the path below the folder that frames were extracted from, or a unique file name, with or without
its suffix. A video with several lines has several captions. ``split`` is any name; the default is ``train``.
``start`` and ``end``, in seconds, limit a caption to that range of the video, which has frames of its own.
Queries of moment retrieval benchmarks are such captions, one for each of their ranges, of the split train.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vopcli.datasets.filter import note_overlaps
from vopcli.datasets.moments import QUERY_HINT, has_moment_queries, read_moment_queries
from vopcli.datasets.reading import Problems, iter_lines, iter_table, read_text
from vopcli.datasets.records import (
    TRAIN,
    AnnotatedSplit,
    Annotations,
    CaptionedVideo,
    SplitReport,
    build_split,
    format_names,
)
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import DataError, format_name, format_value
from vopcli.video.video_file import WHOLE, TimeWindow, range_name

_COLUMNS: Final = ("video", "caption")
_MOST_SPLITS: Final = 100  # more of them mean that the column is not a split
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")
_TIMES: Final = ("start", "end")
_KNOWN: Final = frozenset({*_COLUMNS, "split", *_TIMES})
_EXAMPLE: Final = '{"video": "cat/one.mp4", "caption": "a cat jumps", "split": "train"}'
_MEND: Final = f"write lines such as {_EXAMPLE}, or CSV with the first line video,caption,split"


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """A caption as written in the file, the part of the video it describes, and its line number from 1."""

    line: int
    video: str
    caption: str
    split: str
    window: TimeWindow = WHOLE


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

    @property
    def has_ranges(self) -> bool:
        """Whether a caption describes a range of its video only."""
        return any(line.window != WHOLE for line in self.lines)

    def without_ranges(self) -> CaptionFile:
        """Return the captions, each of the whole of its video."""
        return replace(self, lines=tuple(replace(line, window=WHOLE) for line in self.lines))


def read_captions(path: Path) -> CaptionFile:
    """Read captions from JSON Lines or CSV, recognised by suffix or first character, or moment queries.

    Raises:
        FileError: the file cannot be read.
        DataError: the file is not UTF-8, lacks a column, has no captions, or has invalid lines, which are
            reported together with their numbers.
    """
    problems = Problems(path)
    text = read_text(path)
    if has_moment_queries(path, text):
        return _read_moments(path)
    is_table = path.suffix.lower() not in _JSON_SUFFIXES and not text.lstrip().startswith(("{", "["))
    rows = iter_table(path, text, _COLUMNS, problems) if is_table else _json_rows(text, problems)
    lines: list[CaptionLine] = []
    unused: dict[str, None] = {}
    num_without_split = 0
    for number, row in rows:
        unused.update(dict.fromkeys(column for column in row if column not in _KNOWN))
        try:
            _check_texts(row)
            window = _window(row)
        except ValueError as error:
            problems.add(number, str(error))
            continue
        split = row.get("split") or ""
        num_without_split += not split.strip()
        split = split if split.strip() else TRAIN
        lines.append(CaptionLine(number, row["video"], row["caption"], split, window))
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


def _read_moments(path: Path) -> CaptionFile:
    """Read moment queries as captions; the number of a line is that of the query.

    Raises:
        DataError: see `read_moment_queries`; or no query has a range.
    """
    every = [
        CaptionLine(number, query.vid, query.text, TRAIN, TimeWindow(*window))
        for number, query in enumerate(read_moment_queries(path), 1)
        for window in query.windows
    ]
    lines = tuple(line for line in every if line.window.start_seconds < line.window.end_seconds)
    if not lines:
        raise DataError(f"all ranges of {path} are empty", hint=QUERY_HINT)
    notes = [f"{len(lines)} ranges of moment queries are captions of the split '{TRAIN}'"]
    if len(lines) < len(every):
        notes.append(f"{len(every) - len(lines)} of {len(every)} ranges are empty and left out")
    return CaptionFile(path, lines, tuple(notes))


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


def _check_texts(row: Mapping[str, Any]) -> None:
    """Check video, caption and split of a row.

    Raises:
        ValueError: one is missing, empty or not text.
    """
    for column in _COLUMNS:
        if column not in row:
            raise ValueError(f"'{column}' is missing")
        value = row[column]
        if not isinstance(value, str):
            several = ": write one line for each" if isinstance(value, list) else ""
            problem = f"'{column}' must be text, not {format_value(value)}{several}"
            raise ValueError(problem)  # noqa: TRY004 (of a file, not a caller)
        if not value.strip():
            raise ValueError(f"the {column} is empty")
    split = row.get("split")
    if not (split is None or isinstance(split, str)):
        raise ValueError(f"'split' must be text, not {format_value(split)}")


def _window(row: Mapping[str, Any]) -> TimeWindow:
    """Return the range of a row; the whole video without times.

    Raises:
        ValueError: a time is missing or not a number of seconds, or the range is empty.
    """
    given = {name: row.get(name) for name in _TIMES if row.get(name) not in (None, "")}
    if not given:
        return WHOLE
    if len(given) < len(_TIMES):
        raise ValueError(f"'{next(iter(given))}' needs '{'end' if 'start' in given else 'start'}'")
    start, end = (_seconds(name, value) for name, value in given.items())
    if start >= end:
        raise ValueError(f"the start ({start:g} s) must be before the end ({end:g} s)")
    return TimeWindow(start, end)


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"'{name}' must be a number of seconds from 0 on, not {format_value(value)}")
    return seconds


def _notes(lines: list[CaptionLine], unused: list[str], num_without_split: int) -> Iterator[str]:
    if num_without_split:
        yield f"{num_without_split} of {len(lines)} lines have no split: '{TRAIN}' is used"
    if unused:
        yield f"unused columns: {format_names([format_value(column) for column in unused])}"


def match_captions(
    captions: CaptionFile,
    keys: Iterable[str],
    *,
    ranges: Mapping[str, Collection[TimeWindow]] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Annotations:
    """Match captions with the videos of a frame store.

    Args:
        captions: from `read_captions`.
        keys: paths of the store's videos.
        ranges: by path, the windows that have frames of their own; None: none have.
        durations: of the videos in seconds, by path; None: not known.

    Returns:
        The splits and their videos in the order of the file; each range with captions is a video of its own.
        What the store lacks is removed, and listed in the report by the names in the file.

    Raises:
        DataError: a name matches several videos, no name matches any, or a range begins after its video ends.
    """
    files = VideoFiles(keys)
    problems = Problems(captions.path)
    found = _find_each(captions.lines, files, problems)
    problems.raise_any(hint="write the path of the video as `vop info` prints it")
    if not any(found.values()):
        raise DataError(
            f"the frame store has none of the {len(found)} videos of {captions.path}, "
            f"such as {format_value(captions.lines[0].video)}",
            hint=f"name videos as the store does, such as {format_value(files.example())}",
        )
    notes = _check_durations(captions, found, durations or {})
    by_split: dict[str, list[CaptionLine]] = {}
    for line in captions.lines:
        by_split.setdefault(line.split, []).append(line)
    splits = {name: _build(name, lines, found, ranges or {}) for name, lines in by_split.items()}
    return note_overlaps(Annotations(str(captions.path), splits, (*captions.notes, *notes)))


def captioned_ranges(
    captions: CaptionFile, keys: Iterable[str]
) -> tuple[dict[str, tuple[TimeWindow, ...]], list[str]]:
    """Find the ranges with captions among videos whose frames are to be extracted.

    Returns:
        The ranges of each video by path, in order of time; and the names in the file that match no video.

    Raises:
        DataError: a name matches several videos.
    """
    lines = [line for line in captions.lines if line.window != WHOLE]
    problems = Problems(captions.path)
    found = _find_each(lines, VideoFiles(keys), problems)
    problems.raise_any(hint="write the path of the video below the folder that is extracted")
    ranges: dict[str, set[TimeWindow]] = {}
    for line in lines:
        if (path := found[line.video]) is not None:
            ranges.setdefault(path, set()).add(line.window)
    ordered = {
        path: tuple(sorted(windows, key=lambda window: (window.start_seconds, window.end_seconds)))
        for path, windows in ranges.items()
    }
    return ordered, [name for name, path in found.items() if path is None]


def _find_each(lines: Iterable[CaptionLine], files: VideoFiles, problems: Problems) -> dict[str, str | None]:
    """Return the path of each name in the file; None if no video matches."""
    found: dict[str, str | None] = {}
    for line in lines:
        if line.video not in found:
            matching = files.by_any(line.video)
            if len(matching) > 1:
                problems.add(
                    line.line,
                    f"{format_value(line.video)} matches {format_names(matching, 3).replace(', ', ' and ')}",
                )
            found[line.video] = matching[0] if matching else None
    return found


def _check_durations(
    captions: CaptionFile, found: Mapping[str, str | None], durations: Mapping[str, float]
) -> list[str]:
    """Compare the ranges with the durations of their videos; return notes.

    Raises:
        DataError: a range begins after the end of its video.
    """
    problems = Problems(captions.path)
    late: list[str] = []
    for line in captions.lines:
        duration = durations.get(found[line.video] or "", math.inf)
        if line.window.start_seconds >= duration:
            problems.add(line.line, f"{line.video} ends at {duration:g} s, before {line.window}")
        elif line.window != WHOLE and line.window.end_seconds > duration:
            late.append(str(line.line))
    problems.raise_any(hint="correct start and end: seconds from the first frame of the video")
    return [f"{len(late)} lines end after their video: {format_names(late)}"] if late else []


def _build(
    name: str,
    lines: list[CaptionLine],
    found: Mapping[str, str | None],
    ranges: Mapping[str, Collection[TimeWindow]],
) -> AnnotatedSplit:
    items: dict[str, CaptionedVideo] = {}
    captions: dict[str, list[str]] = {}
    missing: dict[str, bool] = {}
    repeated = []
    seen: set[tuple[str, str]] = set()
    for line in lines:
        video, is_range = found[line.video], line.window != WHOLE
        if video is None or (is_range and line.window not in ranges.get(video, ())):
            missing[range_name(line.video, line.window)] = is_range
            continue
        item = range_name(video, line.window)
        items[item] = CaptionedVideo(item, (), line.window if is_range else None, video, is_range)
        captions.setdefault(item, []).append(line.caption)
        if (item, line.caption) in seen:
            repeated.append(str(line.line))
        seen.add((item, line.caption))
    notes = [f"{len(repeated)} lines repeat an earlier one: {format_names(repeated)}"] if repeated else []
    parts = [item for item in items.values() if item.is_range]
    if parts:
        num_videos = len({item.path for item in parts})
        notes.append(f"{len(parts)} items are ranges of {num_videos} videos, with frames of their own")
    split = build_split(name, list(items), captions, notes=notes)
    num_listed = len(items) + len(missing)
    report: SplitReport = replace(
        split.report,
        num_listed=num_listed,
        num_with_captions=num_listed,
        num_with_file=len(items),
        without_file=tuple(missing),
        num_ranges=len(parts) + sum(missing.values()),
    )
    return AnnotatedSplit(
        tuple(replace(items[one.video], captions=one.captions) for one in split.videos), report
    )
