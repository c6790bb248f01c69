"""What a caption finds first, and the ranks, come from the same scores by every rule."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.indexes import WIDTH, unit_rows
from vopcli.config.choices import MEAN, TieRule, parse_pooling
from vopcli.datasets.records import SplitReport
from vopcli.datasets.splits import TokenisedSplit
from vopcli.evaluation.embed import Embedded, measure, rank_top

CAPTIONS, VIDEOS, FRAMES = 90, 30, 4


@pytest.mark.parametrize("rule", ["mean", "mean-raw", "max", "top-2", "attention:0.05"])
def test_a_caption_finds_its_own_video_first_where_its_rank_is_1(rule: str) -> None:
    frames = unit_rows(VIDEOS * FRAMES, seed=1).reshape(VIDEOS, FRAMES, WIDTH)
    frames[7] = frames[3]  # equal scores: the first in the gallery comes first
    mean = frames.mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    owner = np.arange(CAPTIONS) % VIDEOS
    text = unit_rows(CAPTIONS, seed=2) + 0.4 * frames[owner, 0]
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    tokens = np.zeros((CAPTIONS, 5), np.int64)
    report = SplitReport("test", VIDEOS, VIDEOS, VIDEOS, VIDEOS, CAPTIONS)
    captions = TokenisedSplit(tuple(map(str, owner)), tokens, 5, 0, [], owner, report)
    pooling = parse_pooling(rule)
    embedded = Embedded(text, mean, None if pooling == MEAN else frames, pooling)
    ranks = measure(embedded, captions, TieRule.XPOOL).t2v.ranks
    first, second = rank_top(embedded, 2).T
    np.testing.assert_array_equal(first == owner, ranks == 1)
    assert 0.1 < (ranks == 1).mean() < 0.9
    assert 7 not in first
    np.testing.assert_array_equal((first == owner) | (second == owner), ranks <= 2)
    assert rank_top(embedded, VIDEOS + 1).shape == (CAPTIONS, VIDEOS)
