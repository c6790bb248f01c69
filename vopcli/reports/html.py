"""Self-contained HTML pages: no server, no network, no script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from vopcli.files.templates import html_templates
from vopcli.reports.answers import ShownQuery
from vopcli.reports.plots import HEIGHT, WIDTH, Chart
from vopcli.reports.tables import Table

if TYPE_CHECKING:
    from jinja2 import Template

# light and dark; those of text and series (c0 ...) have a contrast of at least 4.5 to the background
_COLOURS: Final = {
    "text": ("#1b1f24", "#e6e9ed"),
    "back": ("#ffffff", "#14171b"),
    "faint": ("#5b6470", "#a2abb6"),
    "line": ("#d4d9df", "#3a414a"),
    "tint": ("#f2f4f7", "#1e2329"),
    "shade": ("#b4bcc6", "#4a535e"),
    "link": ("#0b62c4", "#6cb1ff"),
    "good": ("#116329", "#56d364"),
    "c0": ("#0b62c4", "#6cb1ff"),
    "c1": ("#b45309", "#ffb059"),
    "c2": ("#11753f", "#5fd38d"),
    "c3": ("#a1248f", "#f08de0"),
    "c4": ("#0e7490", "#5fd3e8"),
    "c5": ("#b91c1c", "#ff8f8f"),
    "c6": ("#5b45c4", "#b3a4ff"),
    "c7": ("#6b6a10", "#d8d35a"),
}


@dataclass(frozen=True)
class Section:
    """A part of a page: tables, charts and queries, each of which may be empty.

    Attributes:
        title: heading, and its entry in the contents.
        tables: below each other.
        charts: side by side if the window is wide enough.
        legend: name and series of each line or point, for all charts.
        queries: captions with their top results.
        notes: sentences at the end.
    """

    title: str
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    legend: Sequence[tuple[str, int]] = ()
    queries: Sequence[ShownQuery] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A page: facts on its origin by name, and its sections."""

    title: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = ()


def render(page: Page) -> str:
    """Return the page as HTML with all text escaped."""
    return _template("page.html").render(page=page, width=WIDTH, height=HEIGHT, colours=_COLOURS)


def render_figure(chart: Chart, legend: Sequence[tuple[str, int]]) -> str:
    """Return a chart with its legend as an SVG file with fixed colours, which drawing programs can read."""
    text = _template("figure.svg").render(chart=chart, legend=legend, width=WIDTH, height=HEIGHT)
    return re.sub(r"var\(--(\w+)\)", lambda found: _COLOURS[found[1]][0], text)


@cache
def _template(name: str) -> Template:
    return html_templates("vopcli.reports").get_template(name)
