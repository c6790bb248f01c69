"""QB-Norm against its formula in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.ranking import qb_norm_by_hand
from vopcli.search.qb_norm import build_query_bank
from vopcli.search.similarity import NotFiniteError

Matrix = NDArray[np.float64]


def cosines(seed: int, num_captions: int, num_videos: int) -> Matrix:
    return np.random.default_rng(seed).uniform(-0.2, 0.5, (num_captions, num_videos))


@pytest.mark.parametrize("top", [1, 2, 6, 99])
@pytest.mark.parametrize("beta", [1.0, 20.0])
def test_qb_norm_orders_the_videos_as_the_formula_does(beta: float, top: int) -> None:
    cosine, bank = cosines(3, 40, 6), cosines(4, 5, 6) - np.arange(6) * 0.1
    by_hand = np.array(qb_norm_by_hand(cosine.tolist(), bank.tolist(), beta, top))
    query_bank = build_query_bank(bank, beta=beta, top=top)
    rescored = query_bank.apply(cosine)
    np.testing.assert_array_equal(np.argsort(rescored, axis=1), np.argsort(by_hand, axis=1))
    is_changed = (rescored != cosine).any(axis=1)
    assert is_changed.any()
    assert is_changed.all() == (top >= 6)
    np.testing.assert_allclose(np.exp(beta * rescored[is_changed]), by_hand[is_changed], rtol=1e-4)
    np.testing.assert_array_equal(rescored[~is_changed], cosine[~is_changed])


def test_a_single_query_is_rescored_like_one_of_many() -> None:
    cosine, bank = cosines(5, 12, 8), build_query_bank(cosines(6, 30, 8), beta=10.0)
    many = bank.apply(cosine)
    for scores, expected in zip(cosine, many, strict=True):
        np.testing.assert_array_equal(bank.apply(scores), expected)
    assert bank.apply(cosine[0].astype(np.float32)).dtype == np.float64


def test_the_column_of_a_video_does_not_depend_on_the_others() -> None:
    bank = cosines(7, 50, 8)
    whole, part = build_query_bank(bank, beta=20.0), build_query_bank(bank[:, 2:5], beta=20.0)
    np.testing.assert_array_equal(part.column, whole.column[2:5])
    assert (whole.beta, whole.top, whole.num_captions) == (20.0, 1, 50)
    by_hand = [math.log(math.fsum(math.exp(20 * score) for score in column)) / 20 for column in bank.T]
    np.testing.assert_allclose(whole.column, by_hand, rtol=1e-6)
    assert whole.column.dtype == np.float32


def test_a_bank_of_several_blocks_sums_as_one() -> None:
    bank = cosines(8, 10_000, 3)  # more than the 4,096 rows of a block
    by_hand = np.log(np.exp(50 * bank).sum(axis=0)) / 50
    query_bank = build_query_bank(bank, beta=50.0)
    np.testing.assert_allclose(query_bank.column, by_hand, rtol=1e-6)
    assert query_bank.is_activated.tolist() == [True, True, True]
    for odd_row in (0, -1):
        bank = np.tile([0.2, 0.1, 0.0], (10_000, 1))
        bank[odd_row, 2] = 0.3
        assert build_query_bank(bank, beta=1.0).is_activated.tolist() == [True, False, True]


def test_equally_good_videos_are_all_activated_and_any_of_them_opens_the_gate() -> None:
    bank = build_query_bank(np.array([[0.3, 0.1, 0.3]]), beta=5.0)
    assert bank.is_activated.tolist() == [True, False, True]
    gate = build_query_bank(np.array([[0.1, 0.0, 0.3]]), beta=5.0)
    assert gate.is_activated.tolist() == [False, False, True]
    assert gate.apply(np.array([0.4, 0.1, 0.4])).tolist() == pytest.approx([0.3, 0.1, 0.1], abs=1e-7)
    assert gate.apply(np.array([0.4, 0.1, 0.3])).tolist() == [0.4, 0.1, 0.3]


def test_arguments_out_of_range_are_refused() -> None:
    good = cosines(12, 6, 4)
    with pytest.raises(ValueError, match=r"beta must be above 0 and top at least 1, got 1\.0 and 0"):
        build_query_bank(good, beta=1.0, top=0)
    with pytest.raises(ValueError, match=r"query bank has 4 videos, got scores \(6, 3\)"):
        build_query_bank(good, beta=1.0).apply(good[:, :3])
    good[4, 2] = np.nan
    with pytest.raises(NotFiniteError, match=r"first at \(4, 2\)"):
        build_query_bank(good, beta=1.0)
