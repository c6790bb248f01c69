"""Hits in an index with windows: complete films, films of an interrupted run, and changed ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.indexes import META, OTHER, QUERY, SECONDS, add_film, encoded_video, new_videos
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.search import Index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_index(tmp_path / "i.h5", META)
    return tmp_path / "i.h5"


def ranges(path: Path) -> list[tuple[float, float]]:
    with Index(path, cache=path.parent) as index:
        return [(hit.start, hit.end) for hit in index.search(QUERY)]


@pytest.mark.parametrize("matching", [0, 2, 3])
@pytest.mark.parametrize("is_whole", [True, False])
def test_the_window_that_matches_is_the_range(path: Path, matching: int, *, is_whole: bool) -> None:
    """The last window too, and before the run has come to the row of the film."""
    add_film(path, matching=matching, windows=range(4), is_whole=is_whole)
    assert len(VideoIndex(path)) == is_whole
    assert ranges(path) == [(SECONDS * matching, SECONDS * (matching + 1))]


def test_windows_of_an_earlier_state_of_the_file_do_not_mix_with_the_new_ones(path: Path) -> None:
    add_film(path, matching=0, windows=range(4), is_whole=True)
    add_film(path, matching=1, windows=[0, 1], mtime_ns=2, is_whole=False)  # interrupted
    index = VideoIndex(path)
    by_time = {
        record["mtime_ns"]: [index.record_of(row)["window"][0] for row in index.windows_of(number)]
        for number in index.rows()
        if (record := index.record_of(number))["is_part"]
    }
    assert by_time == {1: [0.0, 10.0, 20.0, 30.0], 2: [0.0, 10.0]}
    add_film(path, matching=1, windows=[2, 3], mtime_ns=2, is_whole=True)
    assert ranges(path) == [(10.0, 20.0)]
    assert sum(1 for _ in VideoIndex(path).rows()) == 5


def test_hits_are_ranked_from_one(path: Path) -> None:
    add_film(path, matching=1, windows=range(4), is_whole=True)
    with Index(path, cache=path.parent) as index:
        assert [hit.rank for hit in index.search(QUERY, moments=True)] == [1]


def test_a_range_ends_within_two_minutes_of_its_window(path: Path) -> None:
    """Though all frames match equally, and however short the windows are."""
    add_film(path, matching=-1, windows=range(60), is_whole=True, seconds=5.0, num_windows=60)
    with Index(path, cache=path.parent) as index:
        [hit] = index.search(OTHER)
    assert (hit.start, hit.end) == (0.0, 125.0)


def test_windows_of_one_film_do_not_hide_other_videos(path: Path) -> None:
    """The best rows are all of the film: more rows are ranked until there are as many videos as asked for."""
    add_film(path, matching=1, windows=range(60), is_whole=True, num_windows=60)
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(["a.mp4", "b.mp4"]))
        for slot in range(2):
            writer.add([replace(encoded_video(slot), embedding=-OTHER)])
    with Index(path, cache=path.parent) as index:
        for top in (1, 2, 3, 9):
            found = [hit.path for hit in index.search(OTHER, top=top)]
            assert len(found) == min(top, 3)
            assert found[0] == "film.mp4"


def test_hits_below_the_minimum_score_are_left_out(path: Path) -> None:
    add_film(path, matching=1, windows=range(4), is_whole=True)
    with Index(path, cache=path.parent) as index:
        for moments in (False, True):
            assert len(index.search(QUERY, min_score=0.99, moments=moments)) == 1
            assert index.search(QUERY, min_score=1.01, moments=moments) == []
