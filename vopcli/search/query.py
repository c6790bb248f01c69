"""Queries of several parts: texts, pictures, videos and frames of the index, added and subtracted.

With v_i the L2-normalised embeddings of the parts and w_i their weights, negative for those to subtract, the
query is w_1 v_1 + w_2 v_2 + ..., L2-normalised.

Axes: E joint width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import UsageError, format_name, format_value, nearest
from vopcli.files.s3 import absolute_file
from vopcli.index.reader import VideoIndex
from vopcli.search.hits import join_frames
from vopcli.video.video_file import VideoFile

PartKind = Literal["text", "image", "video", "like"]
_PART: Final = re.compile(
    rf"(?:(?P<weight>\d+\.?\d*|\.\d+):)?(?:(?P<kind>{'|'.join(get_args(PartKind))}):)?(?P<value>.*)", re.S
)
_TIME: Final = r"(?:(?:\d+:)?\d+:)?\d+(?:\.\d*)?"
_AT: Final = re.compile(rf"(?P<name>.+)@(?P<start>{_TIME})(?:-(?P<end>{_TIME}))?", re.S)
_ZERO: Final = 1e-5  # of the weights: rounding errors of embeddings


@dataclass(frozen=True)
class QueryPart:
    """A part of a query.

    Attributes:
        kind: "text"; "image", a picture file; "video", a video file, as `NAME[@START-END]`; or "like", a
            video of the index, as `NAME[@TIME]`.
        value: the text, or the name.
        weight: factor of its embedding; negative: it is subtracted.
    """

    kind: PartKind
    value: str
    weight: float = 1.0

    def __str__(self) -> str:
        weight = f"{abs(self.weight):g}:" if abs(self.weight) != 1 else ""
        is_plain = self.kind == "text" and _PART.sub(r"\g<value>", self.value, count=1) == self.value
        kind = "" if is_plain else f"{self.kind}:"
        return f"{weight}{kind}{self.value}"


@dataclass(frozen=True)
class Query:
    """A sum of texts, pictures, videos and frames of the index.

    Attributes:
        parts: the parts, each with its weight.

    Examples:
        >>> print(vopcli.Query.parse("a dog", "2:image:shot.png", minus=["0.5:night"]))
        a dog + 2:image:shot.png - 0.5:night
    """

    parts: tuple[QueryPart, ...]

    @classmethod
    def parse(cls, *plus: str, minus: Sequence[str] = ()) -> Query:
        """Make a query of parts written as `[WEIGHT:][KIND:]VALUE`.

        Args:
            plus: parts to add. WEIGHT is a number, by default 1; KIND is "text", the default, "image",
                "video" or "like". A text with a colon after a number needs the prefix: "text:2:1 wins".
            minus: parts to subtract.

        Raises:
            UsageError: a part is empty, or its weight is zero.
        """
        parts = [parse_part(text) for text in plus]
        return cls((*parts, *(replace(part, weight=-part.weight) for part in map(parse_part, minus))))

    def __str__(self) -> str:
        signed = (f"{'-' if part.weight < 0 else '+'} {part}" for part in self.parts)
        return " ".join(signed).removeprefix("+ ")


def parse_part(text: str) -> QueryPart:
    """Parse `[WEIGHT:][KIND:]VALUE`.

    Raises:
        UsageError: the value is empty, or the weight is zero.
    """
    weight, kind, value = cast("re.Match[str]", _PART.fullmatch(text)).group("weight", "kind", "value")
    if not value.strip():
        raise UsageError(f"{format_value(text)} is an empty query", hint='write it like "2:a dog"')
    if weight and not 0 < float(weight) < np.inf:
        raise UsageError(
            f"{format_value(text)} has a weight of zero or infinity", hint="use a number above 0"
        )
    return QueryPart(cast("PartKind", kind or "text"), value, float(weight or 1))


def is_picture(query: object) -> bool:
    """Whether a query shows one moment: a frame (H, W, 3) uint8, pictures, or frames of the index."""
    if isinstance(query, Query):
        return bool(query.parts) and all(
            part.kind == "image" or (part.kind == "like" and _AT.fullmatch(part.value))
            for part in query.parts
        )
    return isinstance(query, np.ndarray) and query.dtype == np.uint8


def has_examples(query: object) -> bool:
    """Whether a query has parts other than texts; an embedding may be that of a text."""
    if isinstance(query, Query):
        return any(part.kind != "text" for part in query.parts)
    return isinstance(query, np.ndarray) and query.dtype == np.uint8


def combine(vectors: Sequence[NDArray[np.float32]], query: Query) -> NDArray[np.float32]:
    """Return the weighted sum (E,) of the embeddings (E,) of a query's parts; all are L2-normalised.

    Raises:
        UsageError: the sum is zero.
    """
    given = np.array([part.weight for part in query.parts])
    if len(given) == 1 and given[0] > 0:  # the bits of a plain text stay as they are
        return vectors[0]
    total = given @ np.array(vectors, np.float64)
    norm = float(np.linalg.norm(total))
    if norm <= _ZERO * np.abs(given).sum():
        raise UsageError(
            f"the query {format_value(str(query))} is zero: its parts cancel out", hint="change a weight"
        )
    return np.asarray(total / norm, np.float32)


def split_time(value: str) -> tuple[str, float | None, float | None]:
    """Split `NAME[@START[-END]]` into the name and two times in seconds; None where there is none."""
    found = _AT.fullmatch(value)
    if found is None:
        return value, None, None
    return found["name"], _seconds(found["start"]), _seconds(found["end"]) if found["end"] else None


def _seconds(text: str) -> float:
    """Parse 62.5 or 1:02.5."""
    seconds = 0.0
    for field in text.split(":"):
        seconds = 60 * seconds + float(field)
    return seconds


def stored_embedding(index: VideoIndex, value: str) -> NDArray[np.float32]:
    """Return the embedding (E,) of a video of the index, or of its frame nearest to a time.

    Args:
        index: the videos.
        value: `NAME[@TIME]`: a path of the index, its end, or a file.

    Raises:
        UsageError: the index lacks the video, or the time is not within it.
        DataError: the index is damaged.
    """
    name, seconds, end = split_time(value)
    row = find_row(index, name)
    if row is not None and seconds is None:
        return np.array(index.embedding_of(row))
    if row is None:
        paths = {index.path_of(number) for number in index.rows()}
        raise UsageError(
            f"{index.path} has no video {format_name(name)}",
            hint=nearest(name, paths) or f"`vop index ls {index.path}` lists its videos",
        )
    duration = index.video(row).duration_seconds
    if seconds is None or seconds > duration or end is not None:
        raise UsageError(
            f"{format_name(value)} is not a frame: {format_name(name)} has {duration:g} s",
            hint=f"give one time, such as {format_name(name)}@{duration / 2:.1f}",
        )
    frames, times = join_frames(index, index.windows_of(row))
    frame = frames[int(np.abs(times - seconds).argmin())].astype(np.float32)
    return np.asarray(frame / np.linalg.norm(frame))


def find_row(index: VideoIndex, name: str) -> int | None:
    """Find the row of a video by its path, a unique end of its path, or its file; None if there is none.

    Raises:
        DataError: the index is damaged.
    """
    file = absolute_file(name)
    ends = [file[place + 1 :] for place, letter in enumerate(file) if letter == "/"]
    known = index.find(VideoFile("", path, -1, 0) for path in {name, *ends})
    for video in (*known.videos.values(), *(part for parts in known.parts.values() for part in parts)):
        if video.path == name or video.file == file:
            return video.row
    matches = {
        path: row for row in index.rows() if (path := index.path_of(row)).endswith(f"/{name.lstrip('/')}")
    }
    return next(iter(matches.values())) if len(matches) == 1 else None
