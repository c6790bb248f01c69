"""Hits in an index with windows: complete films, films of an interrupted run, and changed ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.indexes import (
    META,
    OTHER,
    QUERY,
    SECONDS,
    add_film,
    encoded_video,
    new_videos,
    unit_rows,
)
from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.query import Query
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


def distinct(rows: NDArray[np.float32], order: list[int], limit: float, top: int) -> list[int]:
    """Numbers of the first rows that are less similar than ``limit`` to all chosen before."""
    chosen: list[int] = []
    for number in order:
        if all(float(rows[number] @ rows[one]) < limit for one in chosen):
            chosen.append(number)
    return chosen[:top]


@pytest.mark.parametrize(("limit", "top"), [(0.9, 5), (0.9, 40), (0.3, 3), (1.0, 30)])
def test_duplicates_of_better_hits_are_left_out_and_others_follow(path: Path, limit: float, top: int) -> None:
    """Of 1,500 videos, 1,200 are copies of one: the first thousand rows are not enough."""
    rows = unit_rows(1500, seed=3)
    query = unit_rows(1, seed=4)[0]
    near = rows[0] + 0.05 * rows[:1200] + query
    near[::2] = near[0]  # exact copies, too
    rows[:1200] = near / np.linalg.norm(near, axis=1, keepdims=True)
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos([f"{number:04d}.mp4" for number in range(1500)]))
        writer.add([replace(encoded_video(slot), embedding=row) for slot, row in enumerate(rows)])
    order = sorted(range(1500), key=lambda number: (-float(rows[number] @ query), number))
    with Index(path, cache=path.parent) as index:
        hits = index.search(query, top=top, dedupe=limit)
        low = index.search(query, top=top, dedupe=limit, min_score=0.4)
    found = [int(hit.path[:4]) for hit in hits]
    expected = distinct(rows, order, limit - 1e-6, top)
    assert found == expected
    assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))
    assert [hit.path for hit in low] == [hit.path for hit in hits if hit.score >= 0.4]


def test_moments_with_the_same_best_frame_are_duplicates(path: Path) -> None:
    for name, matching in (("film.mp4", 1), ("copy.mp4", 1), ("other.mp4", -1)):
        add_film(path, matching=matching, windows=range(4), is_whole=True, name=name)
    with Index(path, cache=path.parent) as index:
        assert len(index.search(QUERY, moments=True, top=3)) == 3
        for top in (1, 2, 3):
            hits = index.search(QUERY, moments=True, top=top, dedupe=0.95)
            assert [hit.path for hit in hits] == ["copy.mp4", "other.mp4"][:top]
        assert len(index.search(QUERY, moments=True, top=3, dedupe=0.95, min_score=0.5)) == 1


@pytest.mark.parametrize(("dedupe", "starts"), [(None, [0, 20]), (0.85, [0, 20]), (0.75, [0])])
def test_moments_are_compared_by_their_best_frames(
    path: Path, dedupe: float | None, starts: list[float]
) -> None:
    """Two moments of a film match equally, and have a cosine of 0.81 with each other."""
    axes = np.eye(len(QUERY), dtype=np.float32)
    first, second = (0.9 * QUERY + 0.19**0.5 * axes[number] for number in (5, 6))
    rows = np.repeat(np.stack([first, OTHER, second, OTHER]), 12, axis=0)
    add_film(path, matching=-1, windows=range(4), is_whole=True, rows=rows)
    with Index(path, cache=path.parent) as index:
        hits = index.search(QUERY, moments=True, per_video=2, dedupe=dedupe)
    assert [hit.start for hit in hits] == pytest.approx(starts)


@pytest.mark.parametrize("dedupe", [0.0, -0.5, 1.01])
def test_a_dedupe_that_no_cosine_can_have_is_refused(path: Path, dedupe: float) -> None:
    with Index(path, cache=path.parent) as index, pytest.raises(UsageError, match="dedupe cannot be"):
        index.search(QUERY, dedupe=dedupe)


def test_a_picture_is_compared_with_single_frames(path: Path) -> None:
    """One frame of the first film is the query; three of the first are farther from it than of the second."""
    frames = unit_rows(48, seed=5)
    target = frames[20].astype(np.float16).astype(np.float32)
    near = 0.6 * target + 0.8 * OTHER / np.linalg.norm(OTHER)
    for name, rows in (("film.mp4", frames), ("near.mp4", np.repeat(near[None], 48, axis=0))):
        add_film(path, matching=-1, windows=range(4), is_whole=True, name=name, rows=rows)
    time = (20 + 0.5) * SECONDS / 12
    with Index(path, cache=path.parent) as index:
        assert [hit.path for hit in index.search(target)] == ["near.mp4", "film.mp4"]
        query = Query.parse(f"like:film.mp4@{time}")
        for moments in (False, True):
            hit = index.search(query, moments=moments)[0]
            assert (hit.path, hit.best) == ("film.mp4", pytest.approx(time))
        assert index.search([target, query, query], top=1)[1:] == [index.search(query, top=1)] * 2
        [first] = index.search(query, top=1)
        assert first.score == pytest.approx(1, abs=1e-3)
