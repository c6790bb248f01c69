"""Pooling rules against plain loops: of scores, of metrics, and of a search in an index."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.indexes import WIDTH, unit_rows
from tests.support.ranking import expected_t2v, expected_v2t, plain_score
from vopcli.config.choices import parse_pooling
from vopcli.evaluation.metrics import measure_similarity
from vopcli.search.pooling import pool_scores, pooled_rows
from vopcli.search.similarity import NotFiniteError

RULES = ["mean", "mean-raw", "max", "top-1", "top-2", "top-99", "attention:0.05", "attention"]


@pytest.mark.parametrize("rule", RULES)
def test_scores_and_metrics_are_those_of_plain_loops(rule: str) -> None:
    videos, length, captions = 9, 4, 20
    frames = unit_rows(videos * length, seed=1).reshape(videos, length, WIDTH)
    text = unit_rows(captions, seed=2)
    owner = np.arange(captions) % videos
    rows = pooled_rows(text, frames, parse_pooling(rule))
    expected = [[plain_score(q, f, rule) for f in frames.tolist()] for q in text.tolist()]
    found = rows[slice(0, captions)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([rows[slice(i, i + 3)] for i in range(0, captions, 3)]), found
    )
    metrics = measure_similarity(rows, owner)
    t2v, v2t = (make(expected, owner.tolist(), "average") for make in (expected_t2v, expected_v2t))
    assert metrics.t2v.ranks.tolist() == t2v.ranks
    assert metrics.v2t.ranks.tolist() == v2t.ranks


@pytest.mark.parametrize("rule", ["max", "top-2", "attention"])
def test_more_videos_than_a_block_score_as_each_by_itself(rule: str) -> None:
    frames, text = unit_rows(600 * 2, seed=1).reshape(600, 2, WIDTH), unit_rows(5, seed=2)
    found = pooled_rows(text, frames, parse_pooling(rule))[slice(0, 5)]
    for video in (0, 255, 256, 511, 512, 599):
        alone = pooled_rows(text, frames[video : video + 1], parse_pooling(rule))[slice(0, 5)]
        np.testing.assert_array_equal(found[:, video : video + 1], alone)


def test_rules_agree_where_they_must() -> None:
    cosines = np.array([[0.1, 0.4, -0.2, 0.4]], np.float32)
    assert pool_scores(cosines, parse_pooling("max")) == pool_scores(cosines, parse_pooling("top-1"))
    same = pool_scores(cosines, parse_pooling("top-4"))
    assert pool_scores(cosines, parse_pooling("mean-raw")) == same
    assert pool_scores(cosines, parse_pooling("attention:1e9")) == pytest.approx(same)
    assert pool_scores(cosines, parse_pooling("attention:1e-9")) == pytest.approx([0.4])
    with pytest.raises(ValueError, match="normalised mean"):
        pool_scores(cosines, parse_pooling("mean"))


@pytest.mark.parametrize("rule", ["max", "mean-raw", "mean"])
def test_a_video_with_a_spoilt_frame_is_named(rule: str) -> None:
    frames = unit_rows(12, seed=1).reshape(4, 3, WIDTH)
    for value in (np.nan, np.inf, -np.inf):
        frames[2, 1, 5] = value
        with pytest.raises(NotFiniteError, match="NaN or infinity") as caught:
            pooled_rows(unit_rows(2), frames, parse_pooling(rule))
        assert caught.value.video_indices.tolist() == [2]
