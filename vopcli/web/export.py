"""Hits as files: a contact sheet, or markers for video editors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from vopcli.errors import UsageError, VideoError, format_value
from vopcli.search.hits import Hit, format_range
from vopcli.search.markers import WRITERS, check_markers, editing_rate
from vopcli.search.sheet import draw_strip, write_sheet

_SHEET: Final = ".jpg"
FORMATS: Final = {  # suffixes, and how the page calls them
    _SHEET: "Contact sheet",
    ".csv": "Markers (CSV)",
    ".edl": "Edit decision list",
    ".otio": "OpenTimelineIO",
    ".fcpxml": "Final Cut Pro XML",
}


def parse_choice(values: Mapping[str, str], picks: Sequence[str]) -> tuple[str, set[int]]:
    """Parse the parameters ``format`` and ``pick`` of a request.

    Args:
        values: parameters by name.
        picks: all values of ``pick``, ranks of hits; none: all hits.

    Returns:
        A suffix of ``FORMATS``, and the ranks.

    Raises:
        UsageError: the format is unknown, its package is missing, or a rank is not a number.
    """
    form = f".{values.get('format', '')}"
    if form not in FORMATS:
        raise UsageError(
            f"unknown format {format_value(form[1:])}",
            hint=f"use one of {', '.join(FORMATS)}, without the dot",
        )
    if not all(pick.isascii() and pick.isdigit() and len(pick) < 4 for pick in picks):
        raise UsageError("pick is not the rank of a hit", hint="write it like pick=1&pick=3")
    if form != _SHEET:
        check_markers(Path(f"hits{form}"))
    return form, {int(pick) for pick in picks}


def export_hits(title: str, hits: Sequence[Hit], form: str) -> bytes:
    """Return a file with hits; markers leave out those whose file cannot be read.

    Args:
        title: the query.
        hits: in order of rank.
        form: a suffix of ``FORMATS``.

    Raises:
        UsageError: there is no hit whose file can be read.
    """
    if form == _SHEET:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "sheet.jpg")
            write_sheet(
                target, title, [(hit, format_range(hit), _strip(hit)) for hit in hits], overwrite=True
            )
            return target.read_bytes()
    readable, rates = [], []
    for hit in hits:
        try:
            rates.append(editing_rate(str(hit.file)))
            readable.append(hit)
        except VideoError:
            continue
    if not readable:
        raise UsageError("none of the videos can be read", hint="have they been moved?")
    return WRITERS[form](title, readable, rates).encode("utf-8", "backslashreplace")


def _strip(hit: Hit) -> Image.Image | str:
    try:
        return draw_strip(hit)
    except VideoError as error:
        return error.reason(str(hit.file))
