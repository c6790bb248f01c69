"""One HTML file that needs nothing else: no server, no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vopcli.reports.answers import Query
from vopcli.reports.plots import HEIGHT, WIDTH, Chart
from vopcli.reports.tables import Table


@dataclass(frozen=True)
class Figure:
    """Charts that belong together.

    Attributes:
        title: heading.
        charts: beside each other where there is room.
        legend: name and series of each line, for all charts.
    """

    title: str
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Page:
    """What a page shows, in this order."""

    title: str
    tables: Sequence[Table]
    figures: Sequence[Figure] = ()
    queries: Sequence[Query] = ()
    query_notes: Sequence[str] = field(default_factory=tuple)


def render(page: Page, *, version: str) -> str:
    """Return the page; all text in it is escaped. It names the ``version`` that wrote it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vopcli.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible,
    )
    template = environment.get_template("page.html")
    return template.render(page=page, width=WIDTH, height=HEIGHT, version=version)


def _visible(value: Any) -> Any:
    r"""Show control characters and bytes of file names that are not UTF-8 as \x1b: HTML has neither."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(
        character if character.isprintable() or character.isspace() else ascii(character)[1:-1]
        for character in value
    )
