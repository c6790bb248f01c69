"""The page as HTML: complete without JavaScript, and no name of a file acts on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.web import NAMES, client_of, make_site


class Outline(HTMLParser):
    """The elements of a page, and the text of its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "h2":
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = self._in_heading and tag != "h2"

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def client(site_index: Path):
    return client_of(make_site(site_index)[0])


def test_the_page_shows_the_hits_of_the_interface(client) -> None:
    page = Outline(client.get("/?q=a+dog").text)
    hits = client.get("/api/search?q=a+dog").json()["hits"]
    assert [re.sub(r"^\d+ ", "", text) for text in page.headings] == [
        Path(hit["path"]).name.replace("\udcff", r"\udcff") for hit in hits
    ]
    assert set(page.headings) == {f"{hit['rank']} {page.headings[hit['rank'] - 1][2:]}" for hit in hits}
    assert [one["data-video"] for one in page.all("li") if one["class"] == "card"] == [
        hit["video"] for hit in hits
    ]
    assert [one["src"] for one in page.all("img")] == [
        frame["picture"] for hit in hits for frame in hit["frames"]
    ]
    assert NAMES[2] in "".join(page.headings)


def test_links_and_forms_work_without_javascript(client) -> None:
    page = Outline(client.get("/?q=a+dog&folder=videos&top=3").text)
    links = [one["href"] for one in page.all("a") if one["href"].startswith("/")]
    assert len(links) > 25
    for link in links:
        assert client.get(link).status_code == 200, link
    likes = [parse_qs(urlsplit(link).query) for link in links if "like=" in link]
    assert all(one["folder"] == ["videos"] and "q" not in one for one in likes)
    fields = {one["name"] for one in page.all("input") if "name" in one}
    assert fields == {
        "q",
        "moments",
        "minus",
        "folder",
        "longer",
        "shorter",
        "after",
        "before",
        "max_false",
        "dedupe",
        "top",
        "pick",
    }
    assert [form["action"] for form in page.all("form")] == ["/", "/export"]
    assert {form.get("method", "get") for form in page.all("form")} == {"get"}


def test_the_policy_allows_all_that_the_page_uses(client) -> None:
    text = client.get("/?q=<script>alert(1)</script>").text
    page = Outline(text)
    assert [one["src"] for one in page.all("script")] == ["/static/page.js"]
    assert not any(name == "style" or name.startswith("on") for _, one in page.elements for name in one)
    assert page.all("style") == []
    for name in ("page.js", "page.css", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
        assert f"/static/{name}" in text


def test_every_field_and_link_has_a_name(client) -> None:
    text = client.get("/?q=a+dog").text
    inputs = [field for field in re.findall(r"<input[^>]*>", text) if "hidden" not in field]
    labelled = re.findall(r"<label[^>]*>.*?</label>", text, re.DOTALL)
    for field in inputs:
        assert "aria-label" in field or any(field in label for label in labelled), field
    for content in re.findall(r"<a [^>]*>(.*?)</a>", text, re.DOTALL):
        assert re.sub(r"<[^>]+>", "", re.sub(r"<span aria-hidden.*?</span>", "", content)).strip(), content
