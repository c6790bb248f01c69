"""Where pages and figures may be written, and the facts on their origin."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from vopcli.errors import DataError, FileError, UsageError
from vopcli.reports.html import Page, Section
from vopcli.reports.output import check_outputs, describe_origin, write_figures, write_page
from vopcli.reports.plots import Point, scatter
from vopcli.resources import __version__


def test_a_path_is_checked_before_the_work(tmp_path: Path) -> None:
    page = tmp_path / "new/page.HTML"
    check_outputs(page, None, overwrite=False)
    with pytest.raises(DataError, match="is a folder"):
        check_outputs(tmp_path, None, overwrite=True)
    with pytest.raises(UsageError, match=r"page\.json is not the name of a page"):
        check_outputs(tmp_path / "page.json", None, overwrite=True)
    (tmp_path / "a.html").touch()
    with pytest.raises(DataError, match=r"a\.html exists already"):
        check_outputs(tmp_path / "a.html", None, overwrite=False)
    check_outputs(tmp_path / "a.html", None, overwrite=True)
    with pytest.raises(FileError, match="lies below something that is not a folder"):
        check_outputs(tmp_path / "a.html/page.html", None, overwrite=False)


def test_names_that_are_not_unicode_are_written_escaped(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", Page("half \udc80"))
    assert "half \\udc80" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_figures_are_numbered_and_not_overwritten_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "new/figures"
    check_outputs(None, folder, overwrite=False)
    charts = [scatter(title, [Point(1, 2)], x_label="", y_label="") for title in ("t2v R@1 (%)", "../b")]
    page = Page("", sections=[Section("one", charts=charts[:1]), Section("two", charts=charts[1:])])
    assert write_figures(folder, page) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["01-t2v-r-1.svg", "02-b.svg"]
    with pytest.raises(DataError, match="holds figures already"):
        check_outputs(None, folder, overwrite=False)
    check_outputs(None, folder, overwrite=True)
    with pytest.raises(FileError, match="not a folder"):
        check_outputs(None, folder / "02-b.svg", overwrite=True)


def test_figures_of_an_earlier_report_are_removed_and_other_files_kept(tmp_path: Path) -> None:
    def write(*titles: str) -> set[str]:
        charts = [scatter(title, [Point(1, 2)], x_label="", y_label="") for title in titles]
        write_figures(tmp_path, Page("", sections=[Section("one", charts=charts)]))
        return {path.name for path in tmp_path.iterdir()}

    assert write("a", "b", "c") == {"01-a.svg", "02-b.svg", "03-c.svg"}
    ElementTree.parse(tmp_path / "01-a.svg")  # noqa: S314  (our own)
    kept = {"02-edited.svg", "04-mine.svg", "notes.svg", "05-folder.svg"}
    (tmp_path / "02-b.svg").rename(tmp_path / "02-edited.svg")
    for name in ("04-mine.svg", "notes.svg"):
        (tmp_path / name).write_text("<svg/>")
    (tmp_path / "05-folder.svg").mkdir()
    assert write("a", "d") == {"01-a.svg", "02-d.svg", *kept}


def test_the_origin_is_named(tmp_path: Path) -> None:
    facts = dict(describe_origin())
    assert list(facts) == ["Command", "Date", "Versions"]
    assert facts["Versions"].startswith(f"vop {__version__}, Python 3.")
    write_page(tmp_path / "a.html", Page("", facts=[("Data", "own")]))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.index("<dt>Data</dt><dd>own</dd>") < text.index(f"<dd>{facts['Versions']}</dd>")
