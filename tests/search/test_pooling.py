"""Pooling rules against plain loops: of scores, of metrics, and of a search in an index."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, WIDTH, encoded_video, make_index, new_videos, unit_rows
from tests.support.ranking import expected_t2v, expected_v2t
from vopcli.config.choices import parse_pooling
from vopcli.errors import DataError
from vopcli.evaluation.metrics import measure_similarity
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.pooled import search_pooled
from vopcli.search.pooling import pool_scores, pooled_rows
from vopcli.search.similarity import NotFiniteError

RULES = ["mean", "mean-raw", "max", "top-1", "top-2", "top-99", "attention:0.05", "attention"]


def dot(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def plain_score(query: list[float], frames: list[list[float]], rule: str) -> float:
    """The formulas of the module, one number after the other."""
    cosines = sorted((dot(query, frame) for frame in frames), reverse=True)
    if rule.startswith("mean"):
        mean = [math.fsum(column) / len(frames) for column in zip(*frames, strict=True)]
        return dot(query, mean) / (math.sqrt(dot(mean, mean)) if rule == "mean" else 1.0)
    if rule.startswith("attention"):
        temperature = float(rule.partition(":")[2] or 0.1)
        weights = [math.exp(cosine / temperature) for cosine in cosines]
        return math.fsum(w * c for w, c in zip(weights, cosines, strict=True)) / math.fsum(weights)
    count = 1 if rule == "max" else int(rule[4:])
    return math.fsum(cosines[:count]) / len(cosines[:count])


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


@pytest.mark.parametrize("rule", RULES[1:])
def test_a_search_finds_what_a_plain_loop_finds(tmp_path: Path, rule: str) -> None:
    names = [f"{i:03}.mp4" for i in range(30)]
    made = make_index(tmp_path / "i.h5", names)
    with IndexWriter(tmp_path / "i.h5") as writer:  # videos of another length, one in place of an older one
        writer.lay_out(new_videos(["long.mp4", "007.mp4"], num_frames=9))
        longer = [encoded_video(slot, num_frames=5 + slot, seed=4) for slot in range(2)]
        writer.add(longer)
    frames = {name: video.frames for name, video in zip(names, made, strict=True)}
    frames |= {"long.mp4": longer[0].frames, "007.mp4": longer[1].frames}
    queries = unit_rows(3, seed=5)
    index = VideoIndex(tmp_path / "i.h5")
    for query, found in zip(queries, search_pooled(index, queries, parse_pooling(rule), top=6), strict=True):
        scores = {
            name: plain_score(query.tolist(), part.astype(np.float64).tolist(), rule)
            for name, part in frames.items()
        }
        expected = sorted(scores, key=lambda name: (-scores[name], name))[:6]
        assert [index.path_of(row) for row in found.rows.tolist()] == expected
        np.testing.assert_allclose(found.scores, [scores[name] for name in expected], atol=1e-6)
        longest = search_pooled(index, query[None], parse_pooling(rule), top=100)[0]
        assert len(longest.rows) == 31
        np.testing.assert_array_equal(longest.scores[:6], found.scores)


def test_equal_videos_come_in_the_order_of_their_paths_and_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    names = [f"{(7 * i) % 40:02}.mp4" for i in range(40)]
    videos = [encoded_video(0) for _ in names]
    same = [type(videos[0])(**{**vars(video), "slot": slot}) for slot, video in enumerate(videos)]
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(names))
        writer.add(same)
    index = VideoIndex(path)
    found = search_pooled(index, unit_rows(1, seed=3), parse_pooling("top-2"), top=5)[0]
    assert [index.path_of(row) for row in found.rows.tolist()] == sorted(names)[:5]
    segment = index.segments[0]
    with IndexWriter(path) as writer:
        writer._file.write(segment, "frame_embeddings", 4, np.full((1, WIDTH), np.nan, np.float16))
    with pytest.raises(DataError, match="NaN or infinite"):
        search_pooled(VideoIndex(path), unit_rows(1), parse_pooling("max"), top=5)
