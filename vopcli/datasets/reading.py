"""Find and read annotation files: text, lists, tables and JSON, with errors that name file and line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from vopcli.datasets.records import format_names
from vopcli.errors import DataError, format_name, format_value
from vopcli.files.atomic import read_bytes

_FOLDERS: Final = ("", "annotations")
_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_MEND: Final = "correct the file, or download it again"


def find_annotation_file(root: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``root`` or ``root/annotations``; None if it does not exist."""
    return next((path for path in _candidate_paths(root, name) if path.is_file()), None)


def require_annotation_file(root: Path, *names: str) -> Path:
    """Return the first of the files ``names`` that exists in ``root`` or ``root/annotations``.

    Raises:
        DataError: the root is not a folder, or none of the files exists.
    """
    if not root.is_dir():
        raise DataError(
            f"{root} {'is not a folder' if root.exists() else 'does not exist'}",
            hint="pass the folder of the dataset's annotation files",
        )
    for name in names:
        if found := find_annotation_file(root, name):
            return found
    places = " and ".join(str(root / folder) for folder in _FOLDERS)
    raise DataError(
        f"{' or '.join(names)} is missing: not found in {places}",
        hint="put the dataset's annotation files there, under their published names",
    )


def _candidate_paths(root: Path, name: str) -> Iterator[Path]:
    return (root / folder / name for folder in _FOLDERS)


def read_text(path: Path) -> str:
    """Read UTF-8 text, with or without a byte order mark.

    Raises:
        FileError: the file cannot be read.
        DataError: the file has another encoding.
    """
    data = read_bytes(path)
    if data.startswith(_UTF16):
        raise DataError(f"{path} is written in UTF-16", hint="save it as UTF-8")
    data = data.removeprefix(_BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8",
            hint=f"save it as UTF-8, for instance: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}",
        ) from error


def iter_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1; only LF and CRLF end a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def read_ids(path: Path) -> tuple[list[str], list[str]]:
    """Read a list with one name per line.

    Returns:
        The names without duplicates, in order; and notes of irregularities.

    Raises:
        FileError: the file cannot be read.
        DataError: the file is not UTF-8, or has no names.
    """
    return deduplicate_ids(path, [line.strip() for _, line in iter_lines(read_text(path))])


def deduplicate_ids(path: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names without duplicates, and a note if there were any.

    Raises:
        DataError: ``names`` is empty.
    """
    unique = list(dict.fromkeys(names))
    if not unique:
        raise DataError(f"{path} names no video", hint=_MEND)
    repeated = len(names) - len(unique)
    return unique, [f"{path.name} has {repeated} duplicates: counted once"] if repeated else []


def note_unlisted(path: Path, videos: Iterable[str], list_path: Path, ids: Sequence[str]) -> list[str]:
    """Return a note if some ``videos`` of ``path`` are not among the ``ids`` of ``list_path``."""
    listed = frozenset(ids)
    unlisted = [video for video in videos if video not in listed]
    count = f"{len(unlisted)} videos of {path.name} are not in {list_path.name}"
    return [f"{count}: {format_names(unlisted)}"] if unlisted else []


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        FileError: the file cannot be read.
        DataError: the file is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise DataError(f"{path} is not JSON: {reason}", hint=_MEND) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, or so many brackets
        raise DataError(f"{path} is unsupported JSON: {format_name(str(error))}", hint=_MEND) from error


class ShapeError(DataError):
    """The file is valid, but its content does not have the dataset's structure."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}", hint="check that it is the dataset's published file")


def read_caption_map(path: Path) -> dict[str, list[str]]:
    """Read a JSON object that maps each video to its captions.

    Raises:
        FileError: the file cannot be read.
        DataError: the file is not JSON, or has another structure.
    """
    return parse_caption_map(path, read_json(path))


def parse_caption_map(path: Path, document: Any) -> dict[str, list[str]]:
    """Check a dictionary of captions by video; captions given as lists of words are joined with spaces.

    Raises:
        ShapeError: ``document`` has another structure.
    """
    if not isinstance(document, dict):
        raise ShapeError(path, "must map each video to a list of captions")
    return {_name(path, video): _captions(path, video, captions) for video, captions in document.items()}


def _name(path: Path, video: object) -> str:
    if not isinstance(video, str):
        raise ShapeError(path, f"the name of the video {format_value(video)} must be text")
    return video


def _captions(path: Path, video: str, captions: object) -> list[str]:
    if isinstance(captions, (list, tuple)):
        joined = [_caption(caption) for caption in captions]
        texts = [caption for caption in joined if caption is not None]
        if len(texts) == len(joined):
            return texts
    raise ShapeError(
        path, f"the captions of {format_value(video)} must be a list of texts, not {format_value(captions)}"
    )


def _caption(caption: object) -> str | None:
    if isinstance(caption, (list, tuple)):
        words = [word for word in caption if isinstance(word, str)]
        return " ".join(words) if len(words) == len(caption) else None
    return caption if isinstance(caption, str) else None


class Problems:
    """Collects the problems of a file by line, to report the first ones and the count of all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, line: int, problem: str) -> None:
        """Add the problem of a line."""
        self._found.append(f"line {line}: {problem}")

    def raise_any(self, hint: str) -> None:
        """Report the problems, if any.

        Raises:
            DataError: the file has problems.
        """
        if self._found:
            count = f" ({len(self._found)} problems)" if len(self._found) > 1 else ""
            named = "; ".join(self._found[:10])
            rest = f"; and {len(self._found) - 10} more" if len(self._found) > 10 else ""
            raise DataError(f"{self._path}{count}, {named}{rest}", hint=hint)


def iter_table(
    path: Path, text: str, columns: Sequence[str], problems: Problems
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a comma-separated table as dictionaries, with the number of the line each begins on.

    Args:
        path: the file, for messages.
        text: its text; the first row names the columns.
        columns: required columns; others are read too.
        problems: receives the rows with more or fewer fields than the header.

    Raises:
        DataError: a column is missing, or the quoting is broken.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            start, line = line, reader.line_num + 1
            if not any(field.strip() for field in row):
                continue
            if header is None:
                header = _header(path, row, columns)
            elif len(row) != len(header):
                problems.add(start, f"{len(row)} fields where the header has {len(header)}")
            else:
                yield start, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: {error}", hint="put texts with a comma or quote in double quotes"
        ) from error
    if header is None:
        raise DataError(f"{path} is empty", hint=f"write the columns in the first line: {','.join(columns)}")


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a comma-separated table whose first row names the columns; return its rows as dictionaries.

    Raises:
        FileError: the file cannot be read.
        DataError: one of ``columns`` is missing, or a row has more or fewer fields than the header.
    """
    problems = Problems(path)
    rows = [row for _, row in iter_table(path, read_text(path), columns, problems)]
    problems.raise_any(hint=_MEND)
    return rows


def _header(path: Path, row: list[str], columns: Sequence[str]) -> list[str]:
    header = [field.strip() for field in row]
    missing = [column for column in columns if column not in header]
    if missing:
        raise DataError(
            f"{path} has no column {' or '.join(missing)}; "
            f"its first line is {format_value(','.join(header))}",
            hint=f"write the columns in the first line, separated by commas: {','.join(columns)}",
        )
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise DataError(
            f"{path} has the column {format_names(twice)} twice", hint="give each column its own name"
        )
    return header


def decode_line(raw: bytes, number: int) -> tuple[str, bool]:
    """Decode line ``number`` of a file as UTF-8, or else Latin-1; return it and whether it was UTF-8."""
    if number == 1:
        raw = raw.removeprefix(_BOM)
    try:
        return raw.decode("utf-8"), True
    except UnicodeDecodeError:
        return raw.decode("latin-1"), False
