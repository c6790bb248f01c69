"""The query of ``vop search``: a text, pictures, videos and frames of the index, added and subtracted."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vopcli.errors import UsageError, format_value

if TYPE_CHECKING:
    from vopcli.search.query import PartKind, Query

PictureFiles = Annotated[
    list[Path] | None, typer.Option("--image", metavar="FILE", help="Search for a picture; repeatable.")
]
VideoParts = Annotated[
    list[str] | None,
    typer.Option("--video", metavar="FILE[@START-END]", help="Search for a video, or a part; repeatable."),
]
Likes = Annotated[
    list[str] | None,
    typer.Option("--like", metavar="VIDEO[@TIME]", help="Search for a frame of the index; repeatable."),
]
Plus = Annotated[
    list[str] | None,
    typer.Option(metavar="[WEIGHT:]QUERY", help="Add a query, such as '2:a cat'; repeatable."),
]
Minus = Annotated[
    list[str] | None,
    typer.Option(metavar="[WEIGHT:]QUERY", help="Subtract a query, such as '0.5:night'; repeatable."),
]


def _day(text: str) -> date:
    """Parse a day.

    Raises:
        BadParameter: ``text`` is not a date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{format_value(text)} is not a day such as 2026-11-29") from None


_LENGTH = {"min": 0, "metavar": "SECONDS"}
_DAY = {"parser": _day, "metavar": "DATE"}
InFolder = Annotated[
    str | None, typer.Option("--in", metavar="FOLDER", help="Only videos with this text in their folder.")
]
Longer = Annotated[float | None, typer.Option(**_LENGTH, help="Only videos of this length or longer.")]
Shorter = Annotated[float | None, typer.Option(**_LENGTH, help="Only videos of this length or shorter.")]
After = Annotated[date | None, typer.Option(**_DAY, help="Only videos changed on this day or later.")]
Before = Annotated[date | None, typer.Option(**_DAY, help="Only videos changed on this day or before.")]


@dataclass(frozen=True)
class Examples:
    """The parts of the query other than its text, as given on the command line."""

    images: Sequence[Path] = ()
    videos: Sequence[str] = ()
    likes: Sequence[str] = ()
    plus: Sequence[str] = ()
    minus: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any((self.images, self.videos, self.likes, self.plus, self.minus))

    def split(
        self, query: str | None, sources: Sequence[Path], context: typer.Context
    ) -> tuple[str | None, list[Path]]:
        """Return the text and the sources: with examples, the first word may be a source.

        Raises:
            UsageError: there is neither a text nor an example, or the text is empty.
        """
        if self and query and os.path.exists(query):  # noqa: PTH110  False for a name that is too long
            return None, [Path(query), *sources]
        if query is None and not self:
            error = UsageError("Missing argument 'QUERY'", hint=f"see `{context.command_path} --help`")
            error.usage = context.get_usage()
            raise error
        if query is not None and not query.strip():
            raise UsageError("the query is empty", hint='describe the video, such as "a dog on a beach"')
        return query, [*sources]

    def queries(self, texts: Iterator[str | None]) -> "Iterator[str | Query]":
        """Yield the query of each text, with the examples."""
        if not self:
            yield from (text for text in texts if text is not None)
            return
        from vopcli.search.query import Query, QueryPart

        added = Query.parse(*self.plus, minus=self.minus).parts
        kinds: dict[PartKind, Iterable[str]] = {
            "image": map(os.fspath, self.images),
            "video": self.videos,
            "like": self.likes,
        }
        parts = [QueryPart(kind, value) for kind, values in kinds.items() for value in values]
        for text in texts:
            own = [] if text is None else [QueryPart("text", text)]
            yield Query((*own, *parts, *added))
