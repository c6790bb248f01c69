"""Dual softmax and QB-Norm against their formulas written out number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.support.ranking import qb_norm_by_hand
from vopcli.evaluation.metrics import measure_similarity
from vopcli.evaluation.rescoring import (
    BETAS,
    choose_beta,
    dual_softmax_t2v,
    dual_softmax_v2t,
    measure_dual_softmax,
    measure_qb_norm,
)
from vopcli.search.qb_norm import build_query_bank
from vopcli.search.similarity import CosineRows, NotFiniteError

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def cosines(seed: int, num_captions: int, num_videos: int) -> Matrix:
    return np.random.default_rng(seed).uniform(-0.2, 0.5, (num_captions, num_videos))


def dual_softmax_by_hand(cosine: Matrix, scale: float) -> list[list[float]]:
    """S' = L * softmax(L, dim=0) * number of rows, a number at a time."""
    num_rows, num_columns = cosine.shape
    rows = []
    for r in range(num_rows):
        row = []
        for c in range(num_columns):
            below = math.fsum(math.exp(scale * cosine[i, c]) for i in range(num_rows))
            row.append(scale * cosine[r, c] * math.exp(scale * cosine[r, c]) / below * num_rows)
        rows.append(row)
    return rows


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
def test_dual_softmax_is_the_formula_on_the_whole_matrix(scale: float) -> None:
    cosine = cosines(0, 9, 5)
    t2v = dual_softmax_t2v(cosine, logit_scale=scale)
    assert t2v.shape == (9, 5)
    np.testing.assert_allclose(t2v[0:9], dual_softmax_by_hand(cosine, scale), rtol=1e-10)
    np.testing.assert_allclose(t2v[3:7], dual_softmax_by_hand(cosine, scale)[3:7], rtol=1e-10)
    v2t = dual_softmax_v2t(cosine, logit_scale=scale)
    np.testing.assert_allclose(v2t[0:9].T, dual_softmax_by_hand(cosine.T, scale), rtol=1e-10)
    assert not np.allclose(t2v[0:9], v2t[0:9], rtol=1e-2)


def test_dual_softmax_of_two_captions_and_three_videos_worked_by_hand() -> None:
    """Logits [[ln 1, ln 2, ln 4], [ln 3, ln 2, ln 1]]: their exponentials are whole numbers."""
    logits = np.log([[1.0, 2.0, 4.0], [3.0, 2.0, 1.0]])
    t2v = dual_softmax_t2v(logits, logit_scale=1.0)[0:2]  # columns sum to 4, 4, 5; two captions
    wanted = [[0.0, math.log(2), 8 / 5 * math.log(4)], [3 / 2 * math.log(3), math.log(2), 0.0]]
    np.testing.assert_allclose(t2v, wanted, atol=1e-15)
    v2t = dual_softmax_v2t(logits, logit_scale=1.0)[0:2]  # rows sum to 7, 6; three videos
    wanted = [[0.0, 6 / 7 * math.log(2), 12 / 7 * math.log(4)], [3 / 2 * math.log(3), math.log(2), 0.0]]
    np.testing.assert_allclose(v2t, wanted, atol=1e-15)


def test_dual_softmax_takes_a_video_near_to_all_out_of_the_way() -> None:
    cosine = np.array([[0.30, 0.31, 0.10], [0.10, 0.40, 0.12], [0.11, 0.33, 0.32]])
    plain = measure_similarity(cosine, np.arange(3))
    assert plain.t2v.ranks.tolist() == [2, 1, 2]
    rescored = measure_dual_softmax(cosine, np.arange(3))
    assert rescored.t2v.ranks.tolist() == [1, 1, 1]
    for direction in (rescored.t2v, rescored.v2t):
        assert (direction.scoring, direction.uses_other_queries) == ("dual-softmax", True)
        assert direction.to_dict()["uses_other_queries"] is True
    assert (plain.t2v.scoring, plain.t2v.uses_other_queries) == ("plain", False)


def test_each_direction_of_dual_softmax_is_measured_on_its_own_matrix() -> None:
    cosine, owner = cosines(1, 60, 20) + np.repeat(np.eye(20), 3, axis=0) * 0.15, np.repeat(np.arange(20), 3)
    rescored = measure_dual_softmax(cosine, owner, logit_scale=15.0, ties="pessimistic")
    t2v = np.array(dual_softmax_by_hand(cosine, 15.0))
    v2t = np.array(dual_softmax_by_hand(cosine.T, 15.0)).T
    expected_t2v = measure_similarity(t2v, owner, ties="pessimistic").t2v.ranks.tolist()
    expected_v2t = measure_similarity(v2t, owner, ties="pessimistic").v2t.ranks.tolist()
    assert rescored.t2v.ranks.tolist() == expected_t2v
    assert rescored.v2t.ranks.tolist() == expected_v2t
    assert expected_v2t != measure_similarity(t2v, owner, ties="pessimistic").v2t.ranks.tolist()


def test_dual_softmax_keeps_the_ties_of_repeated_videos_and_has_none_by_underflow() -> None:
    cosine = cosines(2, 23, 7)[:, [0, 1, 2, 0, 3, 4, 5, 0, 6]]
    rescored = measure_dual_softmax(cosine, np.arange(23) % 9)
    is_repeated = np.isin(np.arange(23) % 9, [0, 3, 7])
    assert rescored.t2v.num_tied_queries == is_repeated.sum()
    wide = np.array([[1.0, 1.0, 1.0], [-0.6, -0.7, -0.8]])
    assert (
        measure_dual_softmax(wide, np.array([0, 2])).t2v.ranks.tolist()[1] == 1
    )  # published: signs as they are
    assert measure_dual_softmax(wide, np.array([0, 2])).t2v.num_tied_queries == 1


def test_qb_norm_takes_a_video_near_to_all_out_of_the_way_without_other_queries() -> None:
    cosine = np.array([[0.30, 0.31, 0.10], [0.10, 0.40, 0.12], [0.11, 0.33, 0.32]])
    bank = build_query_bank(np.array([[0.1, 0.4, 0.1], [0.2, 0.35, 0.1], [0.1, 0.38, 0.2]]), beta=20.0)
    metrics = measure_qb_norm(cosine, np.arange(3), bank)
    assert metrics.ranks.tolist() == [1, 1, 1]
    assert (metrics.scoring, metrics.uses_other_queries) == ("qb-norm", False)
    alone = [measure_qb_norm(cosine[i : i + 1], np.array([i]), bank).ranks[0] for i in range(3)]
    assert alone == [1, 1, 1]


def test_the_best_beta_of_validation_is_chosen_and_all_are_reported() -> None:
    random = np.random.default_rng(9)
    nearness = random.uniform(0, 0.4, 30)  # some videos are near to every text
    owner = np.repeat(np.arange(30), 2)
    validation = random.normal(0, 0.1, (60, 30)) + nearness
    validation[np.arange(60), owner] += 0.25
    bank = random.normal(0, 0.1, (200, 30)) + nearness
    choice = choose_beta(validation, owner, bank, betas=(50.0, 0.5, 5.0), top=30)
    assert list(choice.tried) == [0.5, 5.0, 50.0]
    for beta, metrics in choice.tried.items():
        scores = np.array(qb_norm_by_hand(validation.tolist(), bank.tolist(), beta, 30))
        assert metrics.ranks.tolist() == measure_similarity(scores, owner).t2v.ranks.tolist()
    recalls = {beta: metrics.recall_percent[1] for beta, metrics in choice.tried.items()}
    assert recalls[choice.beta] == max(recalls.values()) > min(recalls.values())
    assert recalls[choice.beta] > measure_similarity(validation, owner).t2v.recall_percent[1]


def test_recalls_at_1_5_and_10_come_before_the_mean_rank_and_a_low_one_is_better() -> None:
    decided_by_mean = 0
    for seed in range(40):
        validation, bank = cosines(seed, 6, 150), cosines(seed + 100, 20, 150)
        tried = (
            choice := choose_beta(validation, np.arange(6), bank, betas=(1.0, 20.0, 100.0), top=150)
        ).tried
        recalls = {beta: [metrics.recall_percent[k] for k in (1, 5, 10)] for beta, metrics in tried.items()}
        equal = [beta for beta in tried if recalls[beta] == max(recalls.values())]
        assert tried[choice.beta].mean_rank == min(tried[beta].mean_rank for beta in equal)
        decided_by_mean += len({tried[beta].mean_rank for beta in equal}) > 1
    assert decided_by_mean > 5


def test_of_equal_betas_the_smallest_is_chosen() -> None:
    identity = np.eye(4)
    assert choose_beta(identity, np.arange(4), identity).beta == min(BETAS)


def test_cosines_made_on_demand_are_rescored_too() -> None:
    random = np.random.default_rng(10)
    text, video, bank = (random.standard_normal((n, 8)) for n in (14, 6, 20))
    text, video, bank = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (text, video, bank))
    owner, rows, bank_rows = np.arange(14) % 6, CosineRows(text, video), CosineRows(bank, video)
    whole = rows[0:14]
    assert (
        measure_dual_softmax(rows, owner).t2v.ranks.tolist()
        == measure_dual_softmax(whole, owner).t2v.ranks.tolist()
    )
    lazy, full = (build_query_bank(b, beta=20.0) for b in (bank_rows, bank_rows[0:20]))
    np.testing.assert_array_equal(lazy.column, full.column)
    assert (
        measure_qb_norm(rows, owner, lazy).ranks.tolist()
        == measure_qb_norm(whole, owner, full).ranks.tolist()
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(value: float) -> None:
    good, bad = cosines(11, 6, 4), cosines(11, 6, 4)
    bad[4, 2] = value
    owner, bank = np.arange(6) % 4, build_query_bank(good, beta=1.0)
    for call in (
        lambda: measure_dual_softmax(bad, owner),
        lambda: build_query_bank(bad, beta=1.0),
        lambda: measure_qb_norm(bad, owner, bank),
        lambda: choose_beta(bad, owner, good),
        lambda: choose_beta(good, owner, bad),
    ):
        with pytest.raises(NotFiniteError, match=r"first at \(4, 2\)"):
            call()


def test_settings_that_make_no_sense_are_refused() -> None:
    good = cosines(12, 6, 4)
    for beta, top in ((0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)):
        with pytest.raises(
            ValueError, match=f"beta must be above 0 and top at least 1, got {beta} and {top}"
        ):
            build_query_bank(good, beta=beta, top=top)
    with pytest.raises(ValueError, match="no beta to try"):
        choose_beta(good, np.arange(6) % 4, good, betas=())
    with pytest.raises(ValueError, match=r"query bank has 4 videos, got scores \(6, 3\)"):
        build_query_bank(good, beta=1.0).apply(good[:, :3])
