"""The moment of a video that a hit points at, as clips, sheets, markers, players and formats need it."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vopcli.errors import UsageError, format_value

if TYPE_CHECKING:
    from vopcli.search.hits import Hit

FIELDS: Final = ("rank", "score", "file", "path", "start", "end", "best")


@dataclass(frozen=True)
class Moment:
    """A range of a video.

    Attributes:
        rank: place among the hits, from 1.
        score: as that of the hit.
        file: absolute path of the video.
        path: its path, relative to the folder that was encoded.
        start: seconds.
        end: seconds, exclusive.
        best: seconds of the frame most similar to the query.
    """

    rank: int
    score: float
    file: Path
    path: str
    start: float
    end: float
    best: float


def moments_of(hits: Iterable[Hit]) -> list[Moment]:
    """Return the moments of hits."""
    return [
        Moment(
            rank=rank,
            score=hit.score,
            file=hit.file,
            path=hit.path,
            start=hit.start,
            end=hit.end,
            best=hit.best,
        )
        for rank, hit in enumerate(hits, 1)
    ]


def check_template(template: str, name: str, *, allowed: Collection[str] = FIELDS) -> None:
    """Check that a template for `str.format` has known fields only, without access to their attributes.

    Args:
        template: text with fields such as ``{start}`` or ``{score:.2f}``.
        name: the option or setting, for messages.
        allowed: names of fields.

    Raises:
        UsageError: the template is malformed, or has another field.
    """
    hint = f"use {', '.join(f'{{{field}}}' for field in allowed)}; write {{{{ for a brace"
    try:
        fields = [part for part in string.Formatter().parse(template) if part[1] is not None]
        for _, field, form, conversion in fields:
            if field not in allowed or conversion or "{" in (form or ""):
                raise UsageError(f"{name} has the unknown field {{{field}}}", hint=hint)
        fill_template(template, Moment(1, 0.0, Path(), "", 0.0, 0.0, 0.0))
    except ValueError as error:
        raise UsageError(f"{name} {format_value(template)} is malformed: {error}", hint=hint) from None


def fill_template(template: str, moment: Moment) -> str:
    """Return a checked template with the values of a moment: seconds have at most 3 decimals, scores 6."""
    values = asdict(moment) | {name: round(getattr(moment, name), 3) for name in ("start", "end", "best")}
    return template.format(**values | {"score": round(moment.score, 6), "file": str(moment.file)})
