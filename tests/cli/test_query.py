"""Queries by example as a user types them; texts alone are in ``test_search.py``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.support.encoding import request_for, run
from tests.support.models import write_model
from tests.support.videos import make_video, numbered_frame
from vopcli.cli.app import app
from vopcli.search.query import Query
from vopcli.search.search import open_index

NAMES = ["a.mp4", "b.mp4", "deep/c.mp4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    weights = write_model(folder / "tiny.safetensors")
    (folder / "v" / "deep").mkdir(parents=True)
    for number, name in enumerate(NAMES, 1):
        make_video(folder / "v" / name, num_frames=20 * number)
    run(request_for(folder / "v", folder / "idx.h5", weights))
    Image.fromarray(numbered_frame(3, width=64, height=48)).save(folder / "shot.png")
    return folder


@pytest.fixture
def folder(made: Path) -> Path:
    os.chdir(made)
    return made


def vop(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["search", *arguments], input=stdin)


def document(*arguments: str) -> dict[str, object]:
    done = vop(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["--image", "shot.png"], Query.parse("image:shot.png")),
        (["--video", "v/b.mp4@0.5-1"], Query.parse("video:v/b.mp4@0.5-1")),
        (["--like", "c.mp4@1.2"], Query.parse("like:c.mp4@1.2")),
        (["--minus", "night"], Query.parse(minus=["night"])),
        (
            [
                "a dog",
                "--image",
                "shot.png",
                "--like",
                "a.mp4",
                "--plus",
                "2:a cat",
                "--minus",
                ".5:video:v/a.mp4",
            ],
            Query.parse("a dog", "image:shot.png", "like:a.mp4", "2:a cat", minus=["0.5:video:v/a.mp4"]),
        ),
    ],
)
def test_options_are_the_query_of_the_api(folder: Path, arguments: list[str], query: Query) -> None:
    found = document(*arguments, "--index", "idx.h5", "--top", "2")
    assert found["query"] == str(query)
    expected = open_index("idx.h5").search(query, top=2)
    assert [(hit["path"], hit["score"]) for hit in found["hits"]] == [  # type: ignore[attr-defined]
        (hit.path, pytest.approx(hit.score, abs=1e-6)) for hit in expected
    ]


def test_a_video_and_a_frame_of_it_find_it(folder: Path) -> None:
    for arguments in (["--video", "v/b.mp4"], ["--like", "v/b.mp4"]):
        hits = document(*arguments, "--index", "idx.h5")["hits"]
        assert hits[0]["path"] == "b.mp4"  # type: ignore[index]
        assert hits[0]["score"] == pytest.approx(1, abs=1e-5)  # type: ignore[index]


def test_besides_an_example_the_first_word_may_be_a_folder(folder: Path) -> None:
    done = vop("--like", "b.mp4", "v", "--top", "1", "--set", "backbone.weights=tiny.safetensors")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("\tv/b.mp4\n")


def test_each_line_of_stdin_is_added_to_the_example(folder: Path) -> None:
    done = vop("-", "--like", "a.mp4", "--index", "idx.h5", "--jsonl", stdin="a dog\na cat\n")
    found = [json.loads(line)["query"] for line in done.stdout.splitlines()]
    assert found == ["a dog + like:a.mp4", "a cat + like:a.mp4"]


def test_duplicates_are_dropped(folder: Path) -> None:
    index = open_index("idx.h5")
    near = index.search("a dog")
    rows = {row.path: row.embedding for row in index}
    cosine = float(np.dot(rows[near[0].path], rows[near[1].path]))
    for shift, expected in ((-1e-3, 2), (1e-3, 3)):
        limit = f"{min(cosine + shift, 1):.6f}"
        hits = document("a dog", "--index", "idx.h5", "--dedupe", limit)["hits"]
        assert (near[1].path in [hit["path"] for hit in hits]) == (expected == 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--image", "gone.png"], 3, "gone.png does not exist"),
        (["--image", "idx.h5"], 3, "idx.h5 is not a picture"),
        (["--image", "v"], 3, "v is a folder"),
        (["--video", "gone.mp4"], 3, "gone.mp4"),
        (["--video", "shot.png"], 3, "shot.png: not a video"),
        (["--video", "v/a.mp4@7"], 2, "v/a.mp4 has 0.8 s"),
        (["--like", "a.mp4@7"], 2, "a.mp4 has 0.8 s"),
        (["--like", "e.mp4"], 2, "has no video e.mp4"),
        (["a dog", "--minus", "a dog"], 2, "is zero: its parts cancel out"),
        (["--plus", ""], 2, "is an empty query"),
        (["", "--like", "a.mp4"], 2, "the query is empty"),
        (["a dog", "--dedupe", "0"], 2, "dedupe cannot be 0"),
    ],
)
def test_errors_are_a_line_and_a_hint(folder: Path, arguments: list[str], code: int, problem: str) -> None:
    done = vop(*arguments, "--index", "idx.h5")
    assert (done.exit_code, done.stdout) == (code, "")
    error, hint = done.stderr.strip().splitlines()
    assert problem in error
    assert hint.startswith("Hint: ")
