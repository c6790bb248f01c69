"""Self-contained HTML pages: no server, no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vopcli.files.templates import html_templates
from vopcli.reports.answers import ShownQuery
from vopcli.reports.plots import HEIGHT, WIDTH, Chart
from vopcli.reports.tables import Table


@dataclass(frozen=True)
class Figure:
    """A section of charts with a common legend.

    Attributes:
        title: heading.
        charts: side by side if the window is wide enough.
        legend: name and series of each line or point, for all charts.
    """

    title: str
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Page:
    """Contents of a page, in order."""

    title: str
    tables: Sequence[Table]
    figures: Sequence[Figure] = ()
    queries: Sequence[ShownQuery] = ()
    query_notes: Sequence[str] = field(default_factory=tuple)


def render(page: Page, *, version: str) -> str:
    """Return the page as HTML with all text escaped; ``version`` is shown at its end."""
    template = html_templates("vopcli.reports").get_template("page.html")
    return template.render(page=page, width=WIDTH, height=HEIGHT, version=version)
