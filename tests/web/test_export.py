"""Selected hits as files, in the formats of `vop search`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.support.web import NAMES, client_of, make_site
from vopcli.web.export import FORMATS


@pytest.fixture(scope="module")
def client(site_index: Path):
    return client_of(make_site(site_index)[0])


def test_the_selected_hits_are_listed(client) -> None:
    hits = client.get("/api/search?q=a+dog").json()["hits"]
    answer = client.get("/export?q=a+dog&format=csv&pick=3&pick=1")
    assert 'filename="hits.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["rank"] for row in rows] == ["1", "3"]
    assert [float(row["start"]) for row in rows] == pytest.approx(
        [hits[0]["start"], hits[2]["start"]], abs=0.01
    )
    assert len(list(csv.DictReader(io.StringIO(client.get("/export?q=a+dog&format=csv").text)))) == len(NAMES)


@pytest.mark.parametrize("form", [suffix[1:] for suffix in FORMATS])
def test_every_format_is_written(client, form: str) -> None:
    answer = client.get(f"/export?q=a+dog&top=2&format={form}")
    assert answer.status_code == 200
    assert len(answer.content) > 100
    if form == "jpg":
        assert Image.open(io.BytesIO(answer.content)).width > 1000


@pytest.mark.parametrize(
    "query", ["q=x", "q=x&format=exe", "format=csv", "q=x&format=csv&pick=a", "q=x&format=csv&no=1"]
)
def test_a_wrong_export_is_refused(client, query: str) -> None:
    assert client.get(f"/export?{query}").status_code == 400
