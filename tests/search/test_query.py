"""Queries of several parts: how they are written, and their sums."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, NAMES, OTHER, QUERY, add_film, make_index, unit_rows
from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import create_index
from vopcli.search.query import Query, QueryPart, combine, parse_part, split_time, stored_embedding


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a cat", QueryPart("text", "a cat")),
        ("2:cat", QueryPart("text", "cat", 2.0)),
        (".5:night", QueryPart("text", "night", 0.5)),
        ("2.:image:a:b.png", QueryPart("image", "a:b.png", 2.0)),
        ("like:film.mp4@1:02", QueryPart("like", "film.mp4@1:02")),
        ("text:2:1 wins", QueryPart("text", "2:1 wins")),
        ("text:image:x", QueryPart("text", "image:x")),
        ("-1:x", QueryPart("text", "-1:x")),
        ("a: b\nc", QueryPart("text", "a: b\nc")),
    ],
)
def test_parts_are_read_and_written(text: str, part: QueryPart) -> None:
    assert parse_part(text) == part
    assert parse_part(str(part)) == part


@pytest.mark.parametrize("text", ["", " ", "2:", "image:", "0:a", f"{'9' * 400}:a"])
def test_parts_without_value_or_weight_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_part(text)
    assert caught.value.hint


def test_a_query_is_written_with_its_signs() -> None:
    query = Query.parse("a dog", "2:image:b.png", minus=["0.5:night", "video:c.mp4@1-2"])
    assert str(query) == "a dog + 2:image:b.png - 0.5:night - video:c.mp4@1-2"
    assert [part.weight for part in query.parts] == [1, 2, -0.5, -1]
    assert str(Query.parse(minus=["night"])) == "- night"


def test_a_sum_is_that_of_its_definition() -> None:
    vectors = unit_rows(3)
    query = Query.parse("a", "2:b", minus=["0.5:c"])
    expected = vectors[0] + 2 * vectors[1] - 0.5 * vectors[2]
    np.testing.assert_allclose(combine(vectors, query), expected / np.linalg.norm(expected), atol=1e-6)
    assert combine(vectors[:1], Query.parse("a")) is not None
    np.testing.assert_allclose(combine(vectors[:1], Query.parse(minus=["a"])), -vectors[0], atol=1e-7)
    for query in (Query.parse("a", minus=["a"]), Query.parse("2:a", minus=["a", "a"]), Query(())):
        with pytest.raises(UsageError, match="is zero"):
            combine(vectors[:1].repeat(len(query.parts), axis=0), query)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.mp4", ("a.mp4", None, None)),
        ("a.mp4@12.5", ("a.mp4", 12.5, None)),
        ("a@b.mp4@1:02.5-1:00:03", ("a@b.mp4", 62.5, 3603.0)),
        ("me@home.mp4", ("me@home.mp4", None, None)),
        ("a@-1", ("a@-1", None, None)),
        ("@3", ("@3", None, None)),
    ],
)
def test_times_are_split_off(value: str, expected: tuple[str, float | None, float | None]) -> None:
    assert split_time(value) == expected


@pytest.fixture
def films(tmp_path: Path) -> VideoIndex:
    """Videos of three frames at 0.5, 1.5 and 2.5 s; a film of four windows, of which the third differs."""
    make_index(tmp_path / "i.h5", NAMES)
    add_film(tmp_path / "i.h5", matching=2, windows=range(4), is_whole=True)
    return VideoIndex(tmp_path / "i.h5")


@pytest.mark.parametrize(
    ("seconds", "frame"), [("0", 0), ("0.9", 0), ("1.1", 1), ("2.25", 2), ("3.2", 2), ("0:01.5", 1)]
)
def test_a_frame_of_the_index_is_the_nearest_in_time(films: VideoIndex, seconds: str, frame: int) -> None:
    for number, name in enumerate(NAMES):
        stored = films.frames_of(number)[0][frame].astype(np.float64)
        found = stored_embedding(films, f"{name}@{seconds}")
        np.testing.assert_allclose(found, stored / np.linalg.norm(stored), atol=1e-6)


def test_a_frame_of_a_film_is_one_of_its_windows(films: VideoIndex) -> None:
    for seconds, expected in ((19.9, OTHER), (20.1, QUERY), (29.9, QUERY), (30.1, OTHER), (40, OTHER)):
        np.testing.assert_allclose(stored_embedding(films, f"film.mp4@{seconds}"), expected, atol=1e-6)


def test_videos_are_found_by_path_file_and_the_end_of_a_path(films: VideoIndex, tmp_path: Path) -> None:
    expected = films.embedding_of(1)
    os.chdir(tmp_path)
    for name in (NAMES[1], f"/videos/{NAMES[1]}", f"../../../../../../../videos/{NAMES[1]}", "ü b.mkv"):
        assert np.array_equal(stored_embedding(films, name), expected)


def test_the_film_of_an_interrupted_run_counts(tmp_path: Path) -> None:
    create_index(tmp_path / "j.h5", META)
    add_film(tmp_path / "j.h5", matching=2, windows=range(3), is_whole=False)
    index = VideoIndex(tmp_path / "j.h5")
    np.testing.assert_allclose(stored_embedding(index, "film.mp4@22"), QUERY, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "problem", "hint"),
    [
        ("a.mkv", "has no video a.mkv", "did you mean a.mp4"),
        ("zzzzzz@3", "has no video zzzzzz", "index ls"),
        ("a.mp4@3.5", "a.mp4 has 3.25 s", "give one time, such as a.mp4@1.6"),
        ("a.mp4@1-2", "is not a frame", "give one time"),
    ],
)
def test_others_are_refused(films: VideoIndex, value: str, problem: str, hint: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        stored_embedding(films, value)
    assert hint in caught.value.hint


def test_the_end_of_several_paths_names_none(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", ["x/a.mp4", "y/a.mp4"])
    with pytest.raises(UsageError, match=r"has no video a\.mp4"):
        stored_embedding(VideoIndex(tmp_path / "i.h5"), "a.mp4")
