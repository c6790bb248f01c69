"""Responses of the routes; nothing but the videos of the index is served."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.indexes import unit_rows
from tests.support.videos import drawn_number
from tests.support.web import NAMES, SECONDS, add_videos, client_of, make_site, write_site
from vopcli.encoding.query_bank import bank_tensors
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.search.search import open_index
from vopcli.web.app import create_app
from vopcli.web.question import PARAMETERS


@pytest.fixture(scope="module")
def client(site_index: Path):
    site, _ = make_site(site_index)
    return client_of(site)


def picture(*, width: int = 64, height: int = 48, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(out, form)
    return out.getvalue()


def test_a_search_answers_as_the_library(client, site_index: Path) -> None:
    found = client.get("/api/search", params={"q": "a dog", "top": 3}).json()["hits"]
    hits = open_index(site_index).search("a dog", top=3)
    keys = ("rank", "path", "start", "end", "best")
    assert [tuple(hit[key] for key in keys) for hit in found] == [
        tuple(getattr(hit, key) for key in keys) for hit in hits
    ]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in hits])
    assert {os.fsencode(hit["path"]) for hit in client.get("/api/search?q=x").json()["hits"]} == {
        os.fsencode(name) for name in NAMES
    }


def test_moments_are_ranked(client, site_index: Path) -> None:
    found = client.get("/api/moments", params={"q": "a dog", "top": 5}).json()["hits"]
    hits = open_index(site_index).search("a dog", top=5, moments=True)
    assert [(hit["path"], hit["start"]) for hit in found] == [(hit.path, hit.start) for hit in hits]
    assert found == client.get("/api/search", params={"q": "a dog", "top": 5, "moments": "1"}).json()["hits"]


def test_a_video_is_served_whole_and_in_parts(client, site_index: Path) -> None:
    for hit in client.get("/api/search?q=x").json()["hits"]:
        content = Path(hit["file"]).read_bytes()
        whole = client.get(hit["video"])
        assert (whole.status_code, whole.content) == (200, content)
        assert whole.headers["content-type"] == "video/mp4"
        part = client.get(hit["video"], headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, content[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
        assert client.get(hit["video"], headers={"range": "bytes=-50"}).content == content[-50:]
        assert client.head(hit["video"]).headers["content-length"] == str(len(content))
    assert client.get(hit["video"], headers={"range": f"bytes={len(content)}-"}).status_code == 416
    several = client.get(hit["video"], headers={"range": "bytes=" + ",".join(f"{n}-{n}" for n in range(9))})
    assert (several.status_code, several.content) == (200, content)


def test_a_frame_is_the_one_of_the_video(client) -> None:
    hit = client.get("/api/search?q=x&top=1").json()["hits"][0]
    assert [frame["seconds"] for frame in hit["frames"]] == SECONDS.tolist()
    for frame in reversed(hit["frames"]):
        answer = client.get(frame["picture"])
        assert answer.headers["content-type"] == "image/jpeg"
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert drawn_number(pixels) == int(frame["seconds"] * 25)


def test_thumbnails_of_the_index_are_shown_even_of_missing_files(tmp_path: Path) -> None:
    index, jpeg = write_site(tmp_path), picture(form="JPEG")
    film = shutil.copy2(tmp_path / "videos/plain.mp4", tmp_path / "videos/new.mp4")
    add_videos(index, tmp_path / "videos", ["new.mp4"], seed=5, thumbnail=jpeg)
    film.unlink()
    site, _ = make_site(index)
    hits = client_of(site).get("/api/search?q=x").json()["hits"]
    frames = {hit["path"]: client_of(site).get(hit["frames"][0]["picture"]) for hit in hits}
    assert frames["new.mp4"].content == jpeg
    assert all(frames[name].content != jpeg for name in NAMES)


def test_more_like_a_frame_finds_its_video(client, site_index: Path) -> None:
    videos = VideoIndex(site_index)
    for row in videos.rows():
        vector = videos.frames_of(row)[0][2].astype(np.float32)
        found = client.get("/api/search", params={"like": f"0.{row}.2"}).json()["hits"]
        expected = open_index(site_index).search(vector)
        assert [hit["path"] for hit in found] == [hit.path for hit in expected]
        assert found[0]["best"] == SECONDS[2]


def test_words_can_be_subtracted(client, site_index: Path) -> None:
    index = open_index(site_index)
    plus, minus = index.encode(["a dog", "night"])
    found = client.get("/api/search", params={"q": "a dog", "minus": "night"}).json()["hits"]
    assert [hit["path"] for hit in found] == [hit.path for hit in index.search(plus - minus)]


def test_a_picture_is_searched_for(client, site_index: Path) -> None:
    upload = client.post("/pictures", content=picture())
    assert upload.status_code == 201
    name = upload.json()["picture"]
    kept = client.get(f"/pictures/{name}")
    pixels = np.asarray(Image.open(io.BytesIO(kept.content)))
    found = client.get("/api/search", params={"picture": name}).json()["hits"]
    assert [hit["path"] for hit in found] == [hit.path for hit in open_index(site_index).search(pixels)]
    assert name in client.get("/", params={"picture": name}).text


@pytest.mark.parametrize(
    ("upload", "status"),
    [
        (b"\xff\xd8\xff\xe0 no picture", 400),
        (b"0" * ((20 << 20) + 1), 413),
    ],
    ids=["no picture", "too large"],
)
def test_a_bad_picture_is_refused(client, upload: bytes, status: int) -> None:
    answer = client.post("/pictures", content=upload)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert client.get("/pictures/0123456789abcdef").status_code == 404


def test_a_picture_and_words_are_added(client, site_index: Path) -> None:
    name = client.post("/pictures", content=picture()).json()["picture"]
    pixels = np.asarray(Image.open(io.BytesIO(client.get(f"/pictures/{name}").content)))
    index = open_index(site_index)
    words, minus, shown = index.encode(["a dog", "night", pixels])
    found = client.get("/api/search", params={"picture": name, "q": "a dog", "minus": "night"}).json()["hits"]
    assert [hit["path"] for hit in found] == [hit.path for hit in index.search(words + shown - minus)]


def test_near_duplicates_are_shown_once(client) -> None:
    found = [
        client.get("/api/search", params={"q": "x", "dedupe": limit}).json()["hits"]
        for limit in ("1", "0.01")
    ]
    assert len(found[0]) == len(NAMES)
    assert len(found[1]) < len(NAMES)


def test_filters_leave_out_hits(client) -> None:
    def paths(**filters: str) -> set[str]:
        return {hit["path"] for hit in client.get("/api/search", params={"q": "x", **filters}).json()["hits"]}

    assert paths(folder="DEEP/er") == {NAMES[1]}
    assert paths(longer="2.3", shorter="2.5") == set(NAMES)
    assert paths(longer="2.5") == paths(shorter="2.3") == set()
    assert paths(after="2000-01-01") == set(NAMES)
    assert paths(before="2000-01-01") == set()


def test_hits_have_a_confidence_and_nothing_may_match(client, tmp_path: Path) -> None:
    index = write_site(tmp_path)
    with IndexWriter(index) as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(600, seed=3), 20.0))
    site, _ = make_site(index)
    judged, opened = client_of(site), open_index(index)
    expected = {hit.path: hit.confidence for hit in opened.search("a dog", max_false=1)}
    answer = judged.get("/api/moments?q=a+dog").json()
    assert {hit["path"]: hit["confidence"] for hit in answer["hits"]} == expected
    assert answer["no_confidence"] is None
    page = judged.get("/?q=a+dog").text
    assert all(f">confidence {value:.3f}<" in page for value in expected.values())
    assert "No confidence" not in page
    least = 1 - max(expected.values())
    for wanted in (least, least / 2):
        hits = judged.get("/api/search", params={"q": "a dog", "max_false": wanted}).json()["hits"]
        assert [hit["path"] for hit in hits] == [hit.path for hit in opened.search("a dog", max_false=wanted)]
    page = judged.get("/?q=a+dog&max_false=0").text
    assert "Nothing matches: no hit has a confidence of 1 or more." in page
    assert judged.get("/api/search?q=a+dog&max_false=0").json()["hits"] == []
    like = judged.get("/api/search?like=0.0.0").json()
    assert like["no_confidence"] == "only texts have one"
    assert [hit["confidence"] for hit in like["hits"]] == [None] * len(NAMES)
    assert client.get("/api/search?q=x").json()["hits"][0]["confidence"] is None
    assert "No confidence: " in client.get("/?q=x").text
    assert "has 0 captions in its query bank, too few for a confidence" in client.get("/?q=x").text
    refused = client.get("/api/search?q=x&max_false=0.05")
    assert (refused.status_code, "has 0 captions" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    "query", ["", "top=0&q=x", "top=x&q=x", "like=0.1", "like=9.0.0", "like=0.99.0", "like=0.0.99", "nope=1",
              "longer=-1&q=x", "longer=nan&q=x", "after=soon&q=x", "picture=gone", "q=" + "x" * 1001]
)  # fmt: skip
def test_a_wrong_question_is_explained(client, query: str) -> None:
    answer = client.get(f"/api/search?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]
    page = client.get(f"/?{query}")
    assert page.status_code == (400 if query else 200)
    assert not query or 'role="alert"' in page.text


@pytest.mark.parametrize(
    "path", ["/video/0/99", "/video/1/0", "/video/0/0?v=00000000", "/video/0/-1", "/video/0/plain.mp4",
             "/video/0/..%2f..%2fetc%2fpasswd", "/frame/0/0/9", "/frame/0/9/0", "/static/../app.py",
             "/static/%2e%2e/app.py", "/static/", "/nothing"]
)  # fmt: skip
def test_nothing_else_is_served(client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "hint"}


def test_a_changed_missing_or_irregular_file_is_not_served(tmp_path: Path) -> None:
    index = write_site(tmp_path)
    site, _ = make_site(index)
    client = client_of(site)
    hits = client.get("/api/search?q=x").json()["hits"]
    files = [Path(hit["file"]) for hit in hits]
    os.utime(files[0], ns=(1, 1))
    files[1].unlink()
    status = files[2].stat()
    files[2].unlink()
    os.mkfifo(files[2])
    os.utime(files[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    for hit, text in zip(hits, ["has changed", "is missing", "not a regular file"], strict=False):
        for url in (hit["video"], hit["frames"][0]["picture"]):
            answer = client.get(url)
            assert answer.status_code == 404
            assert text in answer.json()["error"]
    again = client.get("/api/search?q=x").json()["hits"]
    assert [hit["missing"] for hit in again] == [False, True, False, False]
    assert client.get(hits[3]["video"]).status_code == 200


def test_several_indexes_are_searched_together(site_index: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(site_index.parent, tmp_path / "copy")
    extra = copy / "videos/new.mp4"
    shutil.copy2(copy / "videos/plain.mp4", extra)
    add_videos(copy / "idx.h5", copy / "videos", ["new.mp4"], seed=5)
    site, _ = make_site(site_index, copy / "idx.h5")
    hits = client_of(site).get("/api/search?q=a+dog&top=9").json()["hits"]
    both = [*open_index(site_index).search("a dog"), *open_index(copy / "idx.h5").search("a dog")]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted((hit.score for hit in both), reverse=True))
    assert [hit["rank"] for hit in hits] == list(range(1, 10))
    assert {hit["index"] for hit in hits} == {0, 1}


def test_the_description_of_the_interface_has_each_route_and_parameter(client, site_index: Path) -> None:
    document = client.get("/openapi.json").json()
    site, _ = make_site(site_index)
    routes = {re.sub(r":\w+", "", route.path) for route in create_app(site).app.routes}
    assert set(document["paths"]) == routes - {"/", "/static", "/openapi.json"}
    for path in ("/api/search", "/api/moments"):
        names = [parameter["name"] for parameter in document["paths"][path]["get"]["parameters"]]
        assert names == list(PARAMETERS)
    hit = client.get("/api/search?q=x").json()["hits"][0]
    assert set(document["components"]["schemas"]["Hit"]["properties"]) == set(hit)


def test_information_and_health(client, site_index: Path) -> None:
    info = client.get("/api/info").json()
    assert [(one["path"], one["videos"]) for one in info["indexes"]] == [(str(site_index), len(NAMES))]
    assert client.get("/healthz").text == "ok"


def test_the_log_has_no_words_unless_asked_for(site_index: Path) -> None:
    for wanted in (False, True):
        site, lines = make_site(site_index, log_queries=wanted)
        client_of(site).get("/api/search?q=secret+words")
        assert len(lines) == 1
        assert ("secret words" in lines[0]) is wanted


def test_an_error_of_the_server_is_logged_and_shown_without_a_traceback(tmp_path: Path) -> None:
    index = write_site(tmp_path)
    site, lines = make_site(index)
    videos = site.indexes[0].index.videos
    place = videos.segments[0].columns["frame_embeddings"].offset_bytes
    with index.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff\x00" * 300)
    answer = client_of(site).get("/api/search?q=x")
    assert answer.status_code == 500
    assert "checksum" in answer.json()["error"]
    assert "Traceback" not in json.dumps(answer.json())
    assert any("checksum" in line for line in lines)
