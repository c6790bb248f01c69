"""Write pages and figures, with the command, the time and the versions that made them."""

from __future__ import annotations

import errno
import os
import platform
import re
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from vopcli.errors import DataError, FileError, UsageError
from vopcli.files.atomic import atomic_path, refuse_existing
from vopcli.progress import Progress
from vopcli.reports.html import Page, render, render_figure
from vopcli.resources import __version__


def check_outputs(page: Path | None, figures: Path | None, *, overwrite: bool) -> None:
    """Check that a page and a folder of figures can be written, before the work begins; None is not written.

    Raises:
        UsageError: `page` does not have the extension of a page; files of other kinds are not overwritten.
        DataError: `page` is a folder, or an output exists and `overwrite` is not set.
        FileError: `figures` is not a folder, or a folder cannot be written or created.
    """
    if page:
        if page.is_dir():
            raise DataError(f"{page} is a folder", hint="name a file, such as page.html")
        if page.suffix.lower() not in {".html", ".htm"}:
            raise UsageError(f"{page} is not the name of a page", hint="use the extension .html")
        refuse_existing(page, overwrite=overwrite)
        _check_writable(page.absolute().parent, page)
    if figures:
        if figures.is_dir() and any(figures.glob("*.svg")) and not overwrite:
            raise DataError(f"{figures} holds figures already", hint="name another folder or use --overwrite")
        _check_writable(figures.absolute(), figures)


def _check_writable(folder: Path, target: Path) -> None:
    above = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not above.is_dir():
        raise FileError(target, OSError(errno.ENOTDIR, "not a folder"))
    if not os.access(above, os.W_OK):
        raise FileError(target, OSError(errno.EACCES, "permission denied"))


def write_page(path: Path, page: Page) -> None:
    """Write the page with its origin; characters that are not valid Unicode, as in some names, are escaped.

    Raises:
        FileError: `path` cannot be written.
    """
    page = replace(page, facts=[*page.facts, *describe_origin()])
    with atomic_path(path) as aside:
        aside.write_bytes(render(page).encode("utf-8", "backslashreplace"))


def write_figures(folder: Path, page: Page) -> int:
    """Write each chart of a page as an SVG file, numbered in order; return their number.

    Figures of an earlier report are removed, but no file that has been renamed or is of another program.

    Raises:
        FileError: a file cannot be written.
    """
    charts = [(chart, section.legend) for section in page.sections for chart in section.charts]
    written = set()
    for number, (chart, legend) in enumerate(charts, 1):
        name = re.sub(r"[^a-z0-9]+", "-", chart.title.lower()).strip("-")
        path = folder / f"{number:02}-{name}.svg"
        with atomic_path(path) as aside:
            text = _mark(path) + render_figure(chart, legend)
            aside.write_bytes(text.encode("utf-8", "backslashreplace"))
        written.add(path)
    for path in set(folder.glob("[0-9]*.svg")) - written:
        if path.is_file() and path.read_bytes().startswith(_mark(path).encode("utf-8", "surrogateescape")):
            path.unlink()
    return len(charts)


def _mark(path: Path) -> str:
    """Return the first line of a figure."""
    return f"<!-- {path.name}, written by vop -->\n"


def write_outputs(page: Page, html: Path | None, figures: Path | None, progress: Progress) -> None:
    """Write the page and its figures, each unless it is None.

    Raises:
        FileError: a file cannot be written.
    """
    if html:
        write_page(html, page)
        progress.note(f"wrote {html}")
    if figures:
        progress.note(f"wrote {write_figures(figures, page)} figures to {figures}")


def describe_origin() -> list[tuple[str, str]]:
    """Return the command of this process, the date, and the versions of the packages behind the results."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    versions = [f"vop {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {version(package)}" for name, package in (("NumPy", "numpy"), ("PyTorch", "torch"))]
    date = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return [("Command", command), ("Date", date), ("Versions", ", ".join(versions))]
