"""The pages of ``vop eval`` and ``vop report`` in a real browser: contents, table, narrow screens, dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import MARKS, assert_readable, running_browser
from tests.support.pages import make_document
from vopcli.config.choices import DatasetName
from vopcli.evaluation.results import EvalResult
from vopcli.reports.eval_page import eval_page
from vopcli.reports.output import write_page
from vopcli.reports.report import ReportRequest, report, report_page

pytestmark = MARKS
DOCUMENTS = [
    make_document("zero-shot", 0, [1.0, 3.0, 12.0, 2.0]),
    *(
        make_document(
            "VoP", 122_880, [1.0, 2.0 + seed, 1.0, 1.0], seed=seed, target=f"runs/VoP-long-name-{seed}"
        )
        for seed in range(2)
    ),
    make_document("P+F", 344_064, [1.0, 1.0, 4.0, 1.0], target="runs/P+F-seed0"),
]
_IS_IN_VIEW = """(cell) => {
  const place = cell.getBoundingClientRect();
  return place.left >= 0 && place.right <= innerWidth;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an evaluation and that of a report beside published results."""
    folder = tmp_path_factory.mktemp("pages")
    source = folder / "eval.json"
    source.write_text(json.dumps(DOCUMENTS))
    results = [EvalResult.from_json(document, source=source) for document in DOCUMENTS]
    write_page(folder / "eval.html", eval_page(results, Path("none.h5"), num_queries=0))
    request = ReportRequest([source], DatasetName("msrvtt-9k"), None, 0)
    write_page(folder / "report.html", report_page(report(request)))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as started:
        yield started


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["eval", "report"])
def test_a_page_can_be_read_and_walked(
    browser: Any, folder: Path, name: str, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"file://{folder / name}.html")
    assert_readable(page, width, scheme)

    table = page.locator(".scroll").first
    heading = table.locator("thead th", has_text="R@1").first
    assert heading.evaluate(_IS_IN_VIEW)
    value = table.locator("tbody tr").first.locator("td").first
    assert (value.inner_text().split()[0], value.evaluate(_IS_IN_VIEW)) == ("25.0", True)
    row = table.locator("tbody th").first
    before = row.bounding_box()["x"]
    table.evaluate("(region) => { region.scrollLeft = 1e6; }")
    assert (table.evaluate("(region) => region.scrollLeft") > 100) is (width == 400)
    assert row.bounding_box()["x"] == pytest.approx(before, abs=1)

    links = page.locator("nav a")
    assert links.count() == page.locator("main h2").count() >= 3
    for number in range(links.count()):
        links.nth(number).focus()
        page.keyboard.press("Enter")
        section = page.locator("main section").nth(number)
        assert section.locator("h2").inner_text() == links.nth(number).inner_text()
        place = section.bounding_box()
        assert -1 <= place["y"] < 700
    assert page.url.endswith(f"#part{links.count()}")
    assert page.locator(".chart svg").count() >= 3
    context.close()
    assert problems == []
