"""Results that anyone may have edited: reported on, or refused in one line, never with a traceback."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import Outline, make_document
from vopcli.errors import VopError
from vopcli.reports.html import render
from vopcli.reports.report import ReportRequest, report, report_document, report_page

ODD = [None, -1, 10**400, math.nan, "<b>", [], {}, [[]], True, "\udc80"]
RESULT = make_document("VoP", 122_880, [1.0, 3.0], dataset="msrvtt-9k")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, the document itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*place, key)
        yield from places(below, (*place, key))


@pytest.mark.slow
@pytest.mark.parametrize("place", list(places(RESULT)), ids=lambda place: ".".join(map(str, place)))
def test_an_odd_value_anywhere_is_shown_or_refused(
    training_store: Path, tmp_path: Path, place: tuple[Any, ...]
) -> None:
    for number, odd in enumerate([*ODD, "gone"]):
        changed = copy.deepcopy(RESULT)
        parent: Any = changed
        for key in place[:-1]:
            parent = parent[key]
        if odd == "gone":
            del parent[place[-1]]
        else:
            parent[place[-1]] = odd
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps([changed, RESULT]))
        for store in (None, training_store):
            try:
                found = report(ReportRequest([path], None, store, 2))
                json.dumps(report_document(found), allow_nan=False)
                page = render(report_page(found))
            except VopError as error:
                said = str(error), error.hint
            else:
                Outline(page)
                said = "", ""
            assert "\n" not in said[0]
            assert bool(said[0]) == bool(said[1]), "an error says what to do"
