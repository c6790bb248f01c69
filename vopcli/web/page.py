"""The page as HTML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from vopcli.errors import VopError
from vopcli.files.templates import html_templates
from vopcli.resources import __version__
from vopcli.search.hits import describe_limits, format_range, format_time
from vopcli.search.search import Index
from vopcli.web.answer import ServedHit
from vopcli.web.export import FORMATS
from vopcli.web.frames import SIZE
from vopcli.web.question import MAX_TEXT, MAX_TOP, Question

if TYPE_CHECKING:
    from jinja2 import Template


def draw_page(
    indexes: Sequence[Index],
    question: Question,
    answers: Sequence[ServedHit],
    *,
    seconds: float,
    error: tuple[str, str] | None,
    no_confidence: VopError | None = None,
    watching: str | None = None,
) -> str:
    """Return the page for a question.

    Args:
        indexes: the served indexes.
        question: may be empty.
        answers: its hits.
        seconds: time that the search took.
        error: problem and hint, if it failed.
        no_confidence: why hits have no confidence; None: they have one.
        watching: progress of encoding in the background, "" when it is done; None: nothing is watched.
    """
    rows = [(index.path.name, len(index), index.videos.meta.weights) for index in indexes]
    return _template().render(
        indexes=rows,
        formats=FORMATS,
        num_videos=sum(number for _, number, _ in rows),
        question=question,
        answers=answers,
        milliseconds=round(1000 * seconds),
        error=error,
        no_confidence=no_confidence,
        limits=describe_limits(None, question.max_false),
        watching=watching,
        version=__version__,
    )


@cache
def _template() -> Template:
    templates = html_templates("vopcli.web")
    templates.filters |= {
        "time": format_time,
        "range": format_range,
        "name": lambda path: PurePath(path).name,
        "folder": lambda path: PurePath(path).parent.as_posix(),
        "path": os.fspath,
        "query": urlencode,
    }
    templates.globals |= {"MAX_TEXT": MAX_TEXT, "MAX_TOP": MAX_TOP, "SIZE": SIZE}
    return templates.get_template("page.html")
