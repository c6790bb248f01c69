"""Read the queries of moment retrieval benchmarks: texts with the ranges of a video they describe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vopcli.datasets.reading import Problems, ShapeError, iter_lines, read_json, read_text
from vopcli.errors import DataError, format_value

QUERY_HINT: Final = (
    'write lines like {"qid": 1, "query": "...", "vid": "...", "duration": 150, "relevant_windows": [[0, 8]]}'
)


@dataclass(frozen=True)
class MomentQuery:
    """A text and the ranges of a video that it describes; times in seconds.

    Attributes:
        qid: identifier of the query.
        text: the query.
        vid: name of the video, with or without folders and suffix.
        duration: of the video.
        windows: start and end of each range, at least one.
    """

    qid: int | str
    text: str
    vid: str
    duration: float
    windows: tuple[tuple[float, float], ...]


def has_moment_queries(path: Path, text: str) -> bool:
    """Whether a file has a form that `read_moment_queries` reads, by its suffix, first line and names."""
    first = text.lstrip().partition("\n")[0]
    is_line = all(f'"{name}"' in first for name in ("query", "vid", "relevant_windows"))
    is_document = path.suffix == ".json" and text.lstrip().startswith("{")
    return is_line or (is_document and '"timestamps"' in text and '"sentences"' in text)


def read_moment_queries(path: Path) -> list[MomentQuery]:
    """Read JSON Lines of QVHighlights' form, or a JSON object of ActivityNet Captions' form (``.json``).

    The first has ``qid``, ``query``, ``vid``, ``duration`` and ``relevant_windows`` in each line, as the
    queries of QVHighlights, Charades-STA, ActivityNet and TACoS in Lighthouse. The second maps each video to
    ``duration``, ``timestamps`` and ``sentences``.

    Raises:
        FileError: the file cannot be read.
        DataError: it has another form, or no query.
    """
    queries = _read_videos(path) if path.suffix == ".json" else _read_lines(path)
    if not queries:
        raise DataError(f"{path} has no query", hint=QUERY_HINT)
    return queries


def _read_lines(path: Path) -> list[MomentQuery]:
    queries, problems = [], Problems(path)
    for number, line in iter_lines(read_text(path)):
        try:
            queries.append(_query(json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.add(number, str(error))
    problems.raise_any(QUERY_HINT)
    return queries


def _read_videos(path: Path) -> list[MomentQuery]:
    document = read_json(path)
    if not isinstance(document, dict):
        raise ShapeError(path, "must map each video to its duration, timestamps and sentences")
    queries: list[MomentQuery] = []
    for vid, value in document.items():
        entry = value if isinstance(value, dict) else {}
        texts, times = entry.get("sentences"), entry.get("timestamps")
        if not (isinstance(texts, list) and isinstance(times, list) and len(texts) == len(times)):
            raise ShapeError(path, f"{format_value(vid)} must have as many timestamps as sentences")
        for text, window in zip(texts, times, strict=True):
            record = {"qid": len(queries), "query": text, "vid": vid, "duration": entry.get("duration")}
            try:
                queries.append(_query(record | {"relevant_windows": [window]}))
            except ValueError as error:
                raise ShapeError(path, f"{format_value(vid)}: {error}") from error
    return queries


def _query(record: Any) -> MomentQuery:
    """Check a record.

    Raises:
        ValueError: a value is missing or of another form.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{format_value(record)} is not an object")  # noqa: TRY004 (of a file, not a caller)
    qid, text, vid = record.get("qid"), record.get("query"), record.get("vid")
    duration: Any = record.get("duration")
    windows = record.get("relevant_windows")
    if not (isinstance(text, str) and text.strip() and isinstance(vid, str) and isinstance(qid, int | str)):
        raise ValueError("qid, query or vid is missing")
    if not _is_number(duration) or duration <= 0:
        raise ValueError(f"the duration {format_value(duration)} must be a number of seconds above 0")
    if not (isinstance(windows, list) and windows and all(map(_is_window, windows))):
        raise ValueError(f"relevant_windows {format_value(windows)} must be pairs of start and end")
    # some published files write the end first
    ranges = tuple((float(min(pair)), float(max(pair))) for pair in windows)
    return MomentQuery(qid, text, vid, float(duration), ranges)


def _is_window(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
