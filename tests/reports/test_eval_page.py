"""The page of ``vop eval``: where it may be written, and what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import make_result
from vopcli.errors import DataError, FileError, UsageError
from vopcli.reports.eval_page import check_page_path, eval_page, write_page
from vopcli.reports.html import Page


def test_a_path_is_checked_before_the_work(tmp_path: Path) -> None:
    page = tmp_path / "new/page.HTML"
    check_page_path(page, overwrite=False)
    with pytest.raises(DataError, match="is a folder"):
        check_page_path(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match=r"page\.json is not the name of a page"):
        check_page_path(tmp_path / "page.json", overwrite=True)
    (tmp_path / "a.html").touch()
    with pytest.raises(DataError, match=r"a\.html exists already"):
        check_page_path(tmp_path / "a.html", overwrite=False)
    check_page_path(tmp_path / "a.html", overwrite=True)
    with pytest.raises(FileError, match="lies below something that is not a folder"):
        check_page_path(tmp_path / "a.html/page.html", overwrite=False)


def test_names_that_are_not_unicode_are_written_escaped(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", Page("half \udc80", []))
    assert "half \\udc80" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_page_has_a_table_and_a_point_for_each_model() -> None:
    results = [make_result("zero-shot", 0, [1.0, 3.0]), make_result("VoP", 122_880, [1.0, 1.0])]
    page = eval_page(results, Path("none.h5"), num_queries=0)
    [table], [figure] = page.tables, page.figures
    assert [row[0].text for row in table.rows] == ["zero-shot", "VoP"]
    assert [mark.title for mark in figure.charts[0].marks] == ["zero-shot: 50", "VoP: 100"]
    assert (figure.legend, page.queries) == ([("zero-shot", 0), ("VoP", 1)], [])
