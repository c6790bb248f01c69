"""The worked examples of the literature's code, and random matrices against sorting and looping."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ranking import Expected, expected_t2v, expected_v2t
from vopcli.config.choices import TieRule
from vopcli.evaluation.metrics import (
    DirectionMetrics,
    RetrievalMetrics,
    measure_embeddings,
    measure_similarity,
)

RULES = [rule.value for rule in TieRule]
TIED = np.array([[0.9, 0.2, 0.1, 0.0], [0.5, 0.5, 0.3, 0.1], [0.4, 0.7, 0.4, 0.4], [0.1, 0.8, 0.6, 0.2]])


def figures(metrics: DirectionMetrics) -> tuple[float, ...]:
    return (metrics.recall_percent[1], metrics.recall_percent[5], metrics.median_rank, metrics.mean_rank)


def check(metrics: DirectionMetrics, expected: Expected) -> None:
    assert metrics.queries.tolist() == expected.queries
    assert metrics.num_queries == len(expected.queries)
    assert metrics.num_ranks == len(expected.ranks)
    assert metrics.gallery_size == expected.gallery_size
    if len(expected.ranks) == len(expected.queries):
        assert metrics.ranks.tolist() == expected.ranks
    depths = [1, 5, 10] + [depth for depth in (50, 100) if depth <= expected.gallery_size]
    assert list(metrics.recall_percent) == depths
    for depth in depths:
        assert metrics.recall_percent[depth] == pytest.approx(expected.recall(depth), abs=1e-12)
    assert metrics.median_rank == expected.median()
    assert metrics.median_rank_lower == expected.median_lower()
    assert metrics.mean_rank == pytest.approx(expected.mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("ties", "ranks", "expected"),
    [
        ("clip4clip", None, (28.571, 100, 2.0, 2.2857)),
        ("xpool", [1, 2, 3, 3], (25.0, 100, 2.5, 2.25)),
        ("pessimistic", [1, 2, 4, 3], (25.0, 100, 2.5, 2.5)),
        ("average", [1, 1.5, 3, 3], (25.0, 100, 2.25, 2.125)),
    ],
)
def test_ties_of_the_worked_example(
    ties: str, ranks: list[float] | None, expected: tuple[float, ...]
) -> None:
    metrics = measure_similarity(TIED, np.arange(4), ties=ties)
    assert figures(metrics.t2v) == pytest.approx(expected, abs=5e-4)
    assert figures(metrics.v2t) == (25.0, 100.0, 2.0, 2.0)
    assert metrics.v2t.ranks.tolist() == [1, 3, 2, 2]
    if ranks:
        assert metrics.t2v.ranks.tolist() == ranks
    assert (metrics.t2v.num_tied_queries, metrics.v2t.num_tied_queries) == (2, 0)


def test_all_collected_ranks_of_the_worked_example_are_counted() -> None:
    metrics = measure_similarity(TIED, np.arange(4), ties="clip4clip").t2v
    assert (metrics.num_queries, metrics.num_ranks) == (4, 7)
    assert metrics.ranks.tolist() == [1, 1.5, 3, 3]  # one a query all the same, to compare models by


@pytest.mark.parametrize(
    ("ties", "num_ranks", "expected"),
    [
        ("clip4clip", 16, (25.0, 100.0, 2.5, 2.5)),
        ("xpool", 4, (25.0, 100.0, 2.5, 2.5)),
        ("pessimistic", 4, (0.0, 100.0, 4.0, 4.0)),
        ("average", 4, (0.0, 100.0, 2.5, 2.5)),
    ],
)
@pytest.mark.parametrize("source", ["scores", "embeddings"])
def test_a_collapsed_model_never_looks_good(
    ties: str, num_ranks: int, expected: tuple[float, ...], source: str
) -> None:
    if source == "scores":
        metrics = measure_similarity(np.full((4, 4), 0.3, np.float32), np.arange(4), ties=ties)
    else:
        same = np.full((4, 3), 3**-0.5, np.float32)
        metrics = measure_embeddings(same, same, np.arange(4), ties=ties)
    for direction in (metrics.t2v, metrics.v2t):
        assert figures(direction) == expected
        assert direction.num_ranks == num_ranks
        assert direction.num_tied_queries == 4


def test_both_medians() -> None:
    scores = np.array([[4, 1, 1, 1], [5, 4, 1, 1], [6, 5, 4, 1], [7, 6, 5, 4]], np.float32)
    metrics = measure_similarity(scores, np.arange(4)).t2v
    assert metrics.ranks.tolist() == [1, 2, 3, 4]
    assert (metrics.median_rank, metrics.median_rank_lower) == (2.5, 2.0)


@pytest.mark.parametrize("ties", RULES)
def test_several_captions_a_video_of_the_worked_example(ties: str) -> None:
    scores = np.array([[0.9, 0.1], [0.3, 0.6], [0.5, 0.4], [0.7, 0.2]])
    metrics = measure_similarity(scores, np.array([0, 0, 0, 1]), ties=ties)
    assert metrics.t2v.ranks.tolist() == [1, 2, 1, 2]
    assert metrics.v2t.ranks.tolist() == [1, 2]
    assert (metrics.t2v.recall_percent[1], metrics.v2t.recall_percent[1]) == (50.0, 50.0)
    assert (metrics.t2v.gallery_size, metrics.v2t.gallery_size) == (2, 2)
    assert metrics.t2v.protocol == "each caption ranks the videos"
    assert metrics.v2t.protocol == "each video ranks the videos by their best caption"
    assert metrics.ties.value == ties
    assert metrics.t2v.ties.value == ("xpool" if ties == "clip4clip" else ties)
    assert metrics.v2t.ties.value == ties


def test_one_caption_a_video_ranks_the_captions() -> None:
    metrics = measure_similarity(TIED, np.arange(4), ties="clip4clip")
    assert metrics.v2t.protocol == "each video ranks the captions"
    assert metrics.t2v.ties is TieRule.CLIP4CLIP


@pytest.mark.parametrize("ties", RULES)
@pytest.mark.parametrize("num_captions", [1, 3])
def test_one_video(ties: str, num_captions: int) -> None:
    text = np.eye(3, 4, dtype=np.float32)[:num_captions]
    metrics = measure_embeddings(text, np.eye(1, 4, dtype=np.float32), np.zeros(num_captions, int), ties=ties)
    assert metrics.t2v.ranks.tolist() == [1] * num_captions
    assert metrics.v2t.ranks.tolist() == [1]
    assert figures(metrics.t2v) == figures(metrics.v2t) == (100, 100, 1, 1)


def test_repeated_captions_tie_in_clip4clip_as_on_msr_vtt() -> None:
    """995 distinct sentences of 1000, repeated as in the test set, give 1012 ranks for v2t."""
    random = np.random.default_rng(0)
    text = random.standard_normal((1000, 16))
    for first, count in ((100, 2), (200, 3), (300, 2), (400, 2)):
        text[first : first + 60 * count : 60] = text[first]
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    assert len(np.unique(text, axis=0)) == 995
    metrics = measure_embeddings(text, text[::-1].copy(), np.arange(1000)[::-1], ties="clip4clip")
    assert metrics.v2t.num_ranks == 2 * 2 + 3 * 3 + 2 * 2 + 2 * 2 + 991 == 1012


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Few different scores, so that many tie; captions in any order, some videos with none."""
    num_videos = draw(st.integers(1, 8))
    owner = draw(st.lists(st.integers(0, num_videos - 1), min_size=1, max_size=14))
    scores = draw(
        st.lists(st.integers(0, 3), min_size=len(owner) * num_videos, max_size=len(owner) * num_videos)
    )
    return np.array(scores, np.float32).reshape(len(owner), num_videos) / 4, np.array(owner)


@given(problems(), st.sampled_from(RULES), st.sampled_from([None, 1, 2, 5]))
def test_any_matrix_against_sorting_and_looping(
    problem: tuple[Any, Any], ties: str, block_rows: int | None
) -> None:
    scores, owner = problem
    metrics = measure_similarity(scores, owner, ties=ties, block_rows=block_rows)
    check(metrics.t2v, expected_t2v(scores.tolist(), owner.tolist(), ties))
    check(metrics.v2t, expected_v2t(scores.tolist(), owner.tolist(), ties))


@given(
    problems(), st.sampled_from(["average", "pessimistic", "clip4clip"]), st.randoms(use_true_random=False)
)
def test_the_order_of_captions_and_videos_does_not_matter(
    problem: tuple[Any, Any], ties: str, random: Any
) -> None:
    scores, owner = problem
    captions, videos = list(range(scores.shape[0])), list(range(scores.shape[1]))
    random.shuffle(captions)
    random.shuffle(videos)
    new_number = np.argsort(videos)
    plain = measure_similarity(scores, owner, ties=ties)
    moved = measure_similarity(scores[captions][:, videos], new_number[owner[captions]], ties=ties)
    if plain.t2v.ties is not TieRule.XPOOL:  # which goes by the order
        assert moved.t2v.ranks.tolist() == plain.t2v.ranks[captions].tolist()
        assert figures(moved.t2v) == pytest.approx(figures(plain.t2v), abs=1e-12)
    ranks = dict(zip(plain.v2t.queries.tolist(), plain.v2t.ranks.tolist(), strict=True))
    assert [ranks[videos[query]] for query in moved.v2t.queries] == moved.v2t.ranks.tolist()
    assert figures(moved.v2t) == pytest.approx(figures(plain.v2t), abs=1e-12)


def unit(random: np.random.Generator, rows: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    embeddings = random.standard_normal((rows, width))
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


def all_ranks(metrics: RetrievalMetrics) -> list[list[float]]:
    return [metrics.t2v.ranks.tolist(), metrics.v2t.ranks.tolist()]


@pytest.mark.parametrize("ties", RULES)
def test_repeated_embeddings_tie_exactly_at_any_size_of_block(ties: str) -> None:
    """Equal rows lie at odd places; a plain float32 product gives them scores that differ in the last bit."""
    random = np.random.default_rng(1)
    different_text, different_video = unit(random, 3, 37), unit(random, 5, 37)
    text = different_text[random.integers(0, 3, 83)]
    video = different_video[random.integers(0, 5, 67)]
    owner = np.concatenate([np.arange(67), random.integers(0, 67, 16)])
    exact = different_text.astype(np.float64) @ different_video.T.astype(np.float64)
    kinds = np.array([[(row == other).all() for other in different_text] for row in text]).argmax(axis=1)
    columns = np.array([[(row == other).all() for other in different_video] for row in video]).argmax(axis=1)
    scores = exact[kinds][:, columns]  # equal pairs are one number
    expected = [
        expected_t2v(scores.tolist(), owner.tolist(), ties),
        expected_v2t(scores.tolist(), owner.tolist(), ties),
    ]
    for block_rows in (None, 1, 2, 3, 5, 8, 13, 64):
        metrics = measure_embeddings(text, video, owner, ties=ties, block_rows=block_rows)
        check(metrics.t2v, expected[0])
        check(metrics.v2t, expected[1])


@pytest.mark.parametrize("is_sorted", [True, False])
def test_embeddings_against_their_matrix_with_ragged_captions(is_sorted: bool) -> None:
    random = np.random.default_rng(2)
    owner = np.repeat(np.arange(40), random.integers(0, 7, 40))  # some videos have no caption
    owner = owner if is_sorted else random.permutation(owner)
    video = unit(random, 40, 24)
    text = video[owner] + 1.5 * unit(random, len(owner), 24)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    scores = text.astype(np.float64) @ video.T.astype(np.float64)
    metrics = measure_embeddings(text, video, owner, block_rows=7)
    check(metrics.t2v, expected_t2v(scores.tolist(), owner.tolist(), "average"))
    check(metrics.v2t, expected_v2t(scores.tolist(), owner.tolist(), "average"))
    assert metrics.v2t.gallery_size == len(set(owner.tolist())) < metrics.t2v.gallery_size == 40
    assert 0 < metrics.t2v.recall_percent[1] < 100
    assert all_ranks(measure_similarity(scores, owner, block_rows=3)) == all_ranks(metrics)


def test_deep_recalls_appear_where_the_gallery_has_so_many() -> None:
    random = np.random.default_rng(3)
    for size, depths in ((49, [1, 5, 10]), (50, [1, 5, 10, 50]), (100, [1, 5, 10, 50, 100])):
        scores = random.standard_normal((size, size))
        metrics = measure_similarity(scores, np.arange(size))
        assert list(metrics.t2v.recall_percent) == depths
        check(metrics.t2v, expected_t2v(scores.tolist(), range(size), "average"))


@pytest.mark.parametrize("num_videos", [30, 130])
def test_the_sum_of_recalls_of_several_sentences_per_video(num_videos: int) -> None:
    random = np.random.default_rng(num_videos)
    owner = np.repeat(np.arange(num_videos), random.integers(1, 5, num_videos))
    scores = random.standard_normal((len(owner), num_videos))
    scores[np.arange(len(owner)), owner] += 1.2
    own = scores[np.arange(len(owner)), owner]
    ranks = 1 + (scores > own[:, None]).sum(axis=1)
    recalls = {depth: 100 * float(np.mean(ranks <= depth)) for depth in (1, 5, 10, 100)}
    assert (recalls[100] == 100) is (num_videos < 100)
    found = measure_similarity(scores, owner).t2v.by_name
    assert [found[f"R@{depth}"] for depth in recalls] == pytest.approx(list(recalls.values()), abs=1e-9)
    assert found["SumR"] == pytest.approx(sum(recalls.values()), abs=1e-9)


def test_whole_numbers_are_scores_too() -> None:
    metrics = measure_similarity(np.array([[3, 1], [2, 2]]), np.arange(2))
    assert metrics.t2v.ranks.tolist() == [1, 1.5]


def test_the_arguments_stay_as_they_were() -> None:
    scores, owner = TIED[[0, 2, 1, 0]].copy(), np.array([1, 0, 1, 0])
    measure_similarity(scores, owner, block_rows=1)
    np.testing.assert_array_equal(scores, TIED[[0, 2, 1, 0]])
    assert owner.tolist() == [1, 0, 1, 0]


def test_json_holds_full_precision_and_names_the_rules() -> None:
    metrics = measure_similarity(TIED[:3], np.array([0, 1, 2]), ties="pessimistic")
    document = json.loads(json.dumps(metrics.to_dict()))
    assert document == {
        "ties": "pessimistic",
        "t2v": {
            "R@1": 100 / 3,
            "R@5": 100.0,
            "R@10": 100.0,
            "R@100": 100.0,
            "SumR": 100 / 3 + 100.0 + 100.0 + 100.0,
            "MdR": 2.0,
            "MdR_lower": 2.0,
            "MnR": 7 / 3,
            "num_queries": 3,
            "num_ranks": 3,
            "num_tied_queries": 2,
            "gallery_size": 4,
            "protocol": "each caption ranks the videos",
            "ties": "pessimistic",
            "scoring": "plain",
            "uses_other_queries": False,
        },
        "v2t": document["v2t"],
    }
    assert (document["v2t"]["gallery_size"], document["v2t"]["num_queries"]) == (3, 3)
    with_ranks = json.loads(json.dumps(metrics.to_dict(with_ranks=True)))
    assert with_ranks["t2v"] == document["t2v"] | {"queries": [0, 1, 2], "ranks": [1, 2, 4]}


@pytest.mark.parametrize(
    ("owner", "match"),
    [
        (np.arange(3), "an integer for each of 4 captions, got int64 \\(3,\\)"),
        (np.arange(4.0), "an integer for each of 4 captions, got float64"),
        (np.array([0, 1, 4, 2]), "caption 2 belongs to video 4, there are 4 videos"),
        (np.array([0, -1, 3, 2]), "caption 1 belongs to video -1"),
    ],
)
def test_an_owner_that_is_no_video_is_refused(owner: np.ndarray[Any, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        measure_similarity(TIED, owner)
    with pytest.raises(ValueError, match=match):
        measure_embeddings(np.eye(4), np.eye(4), owner)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="optimistic"):
        measure_similarity(TIED, np.arange(4), ties="optimistic")
