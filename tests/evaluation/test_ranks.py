"""Counts of candidates above and beside the target, against loops over the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.evaluation.ranks import BestCaptions, count_ranks, top_columns
from vopcli.search.similarity import GivenRows

SCORES = np.array([[3, 1, 3], [2, 2, 2], [0, 5, 1], [4, 4, 9]], np.float64)
OWNER = np.array([0, 2, 1, 0])


def count_by_loops(scores: list[float], target: int) -> tuple[int, int, int]:
    own = scores[target]
    tied = [i for i, score in enumerate(scores) if score == own]
    return sum(score > own for score in scores), len(tied), tied.index(target)


@pytest.mark.parametrize("block_rows", [None, 1, 3])
def test_both_directions_are_those_of_loops(block_rows: int | None) -> None:
    t2v, v2t = count_ranks(GivenRows(SCORES), OWNER, block_rows=block_rows)
    rows = [count_by_loops(row, target) for row, target in zip(SCORES.tolist(), OWNER, strict=True)]
    assert list(zip(t2v.above, t2v.tied, t2v.tied_before, strict=True)) == rows
    best = np.array([SCORES[video == OWNER].max(axis=0) for video in range(3)])  # (candidates, queries)
    columns = [count_by_loops(best[:, query].tolist(), query) for query in range(3)]
    assert list(zip(v2t.above, v2t.tied, v2t.tied_before, strict=True)) == columns
    assert (t2v.gallery_size, v2t.gallery_size) == (3, 3)


def test_videos_without_captions_are_candidates_of_t2v_only() -> None:
    t2v, v2t = count_ranks(GivenRows(SCORES[:2]), np.array([0, 2]))
    assert (t2v.gallery_size, v2t.gallery_size) == (3, 2)
    assert v2t.queries.tolist() == [0, 2]


def test_the_first_of_equal_columns_is_returned() -> None:
    assert top_columns(GivenRows(SCORES), 1).tolist() == [[0], [0], [1], [2]]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 7))
def test_each_video_is_completed_once_with_its_maximum(owners: list[int], block: int) -> None:
    owner = np.array(owners)
    scores = np.random.default_rng(0).integers(0, 9, (len(owner), 5)).astype(np.float64)
    best_captions = BestCaptions(owner, 5)
    found: dict[int, list[float]] = {}
    for start in range(0, len(owner), block):
        videos, best = best_captions.add(owner[start : start + block], scores[start : start + block])
        for video, row in zip(videos.tolist(), best.tolist(), strict=True):
            assert video not in found
            found[video] = row
    assert found == {video: scores[owner == video].max(axis=0).tolist() for video in set(owners)}
