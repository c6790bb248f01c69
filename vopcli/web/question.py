"""The query of a request: its words, pictures and frames, and the filters."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vopcli.errors import UsageError, format_value
from vopcli.search.filters import VideoFilter

MAX_TEXT: Final = 1000  # characters
MAX_TOP: Final = 200


@dataclass(frozen=True)
class Question:
    """A query with its filters.

    Attributes:
        text: words to search for; may be empty.
        minus: words to subtract.
        like: index number, row and frame number of a frame to search for.
        picture: the name of an uploaded picture.
        moments: rank moments instead of videos.
        where: filters by folder, length and date.
        max_false: leave out hits with less than ``1 - max_false`` confidence.
        dedupe: leave out hits whose embedding has this cosine, or a higher one, with that of a better hit.
        top: maximum number of hits.
    """

    text: str = ""
    minus: str = ""
    like: tuple[int, int, int] | None = None
    picture: str = ""
    moments: bool = False
    where: VideoFilter = field(default_factory=VideoFilter)
    max_false: float | None = None
    dedupe: float | None = None
    top: int = field(kw_only=True)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search for."""
        return not (self.text or self.has_examples)

    @property
    def has_examples(self) -> bool:
        """Whether a frame or a picture is searched for."""
        return bool(self.like or self.picture)

    @property
    def is_filtered(self) -> bool:
        """Whether videos are left out."""
        return self.where != VideoFilter()

    def to_dict(self) -> dict[str, str]:
        """Return the parameters of a request with this question, without those that are not set."""
        where = self.where
        values = {
            "q": self.text,
            "minus": self.minus,
            "like": ".".join(map(str, self.like or ())),
            "picture": self.picture,
            "moments": "1" if self.moments else "",
            "folder": where.folder,
            "longer": "" if where.longer is None else f"{where.longer:g}",
            "shorter": "" if where.shorter is None else f"{where.shorter:g}",
            "after": where.after.isoformat() if where.after else "",
            "before": where.before.isoformat() if where.before else "",
            "max_false": "" if self.max_false is None else f"{self.max_false:g}",
            "dedupe": "" if self.dedupe is None else f"{self.dedupe:g}",
            "top": str(self.top),
        }
        return {name: value for name, value in values.items() if value}


PARAMETERS: Final = (
    "q", "minus", "like", "picture", "moments", "folder", "longer", "shorter", "after", "before",
    "max_false", "dedupe", "top",
)  # fmt: skip


def parse_question(values: Mapping[str, str], *, top: int, moments: bool = False) -> Question:
    """Parse the parameters of a request; empty ones count as missing.

    Args:
        values: parameters by name.
        top: number of hits unless the request names one.
        moments: rank moments even if the request does not ask for them.

    Raises:
        UsageError: a parameter is unknown or has a wrong value.
    """
    if unknown := sorted(values.keys() - {*PARAMETERS}):
        raise UsageError(f"unknown parameter {format_value(unknown[0])}", hint=f"use {', '.join(PARAMETERS)}")
    given = {name: value.strip() for name, value in values.items() if value.strip()}
    if any(len(value) > MAX_TEXT for value in given.values()):
        raise UsageError(f"a parameter is longer than {MAX_TEXT} characters", hint="shorten it")
    like = given.get("like")
    return Question(
        text=given.get("q", ""),
        minus=given.get("minus", ""),
        like=None if like is None else parse_frame(like),
        picture=given.get("picture", ""),
        moments=moments or given.get("moments", "0") not in {"0", "false"},
        top=int(_number(given, "top", 1, MAX_TOP) or min(top, MAX_TOP)),
        where=VideoFilter(
            folder=given.get("folder", ""),
            longer=_number(given, "longer", 0, math.inf),
            shorter=_number(given, "shorter", 0, math.inf),
            after=_date(given, "after"),
            before=_date(given, "before"),
        ),
        max_false=_number(given, "max_false", 0, 1),
        dedupe=_number(given, "dedupe", 0.01, 1),
    )


def parse_frame(text: str) -> tuple[int, int, int]:
    """Parse index number, row and frame number, such as 0.17.3.

    Raises:
        UsageError: ``text`` is not a frame.
    """
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise UsageError(f"{format_value(text)} is not a frame", hint="write INDEX.ROW.FRAME, such as 0.17.3")
    index, row, frame = map(int, parts)
    return index, row, frame


def _number(values: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    if name not in values:
        return None
    try:
        number = float(values[name])
    except ValueError:
        number = math.nan
    if not least <= number <= most or math.isinf(number):
        raise UsageError(
            f"{name} cannot be {format_value(values[name])}",
            hint=f"use a number from {least:g}" + (f" to {most:g}" if most < math.inf else ""),
        )
    return number


def _date(values: Mapping[str, str], name: str) -> datetime.date | None:
    if name not in values:
        return None
    try:
        return datetime.date.fromisoformat(values[name])
    except ValueError:
        raise UsageError(
            f"{name} cannot be {format_value(values[name])}", hint="use a date such as 2024-12-31"
        ) from None
