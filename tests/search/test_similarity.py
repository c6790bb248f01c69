"""Cosines in blocks: right, the same to the bit whatever the block, and refused where they are no numbers."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vopcli.evaluation.metrics import measure_embeddings, measure_similarity
from vopcli.evaluation.ranks import top_columns
from vopcli.search.similarity import CosineRows, GivenRows, NotFiniteError, iter_blocks


def unit(seed: int, rows: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    embeddings = np.random.default_rng(seed).standard_normal((rows, width))
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("width", [1, 3, 512, 1023])
def test_cosines_are_as_near_as_float32_allows(width: int) -> None:
    text, video = unit(0, 31, width), unit(1, 17, width)
    exact = text.astype(np.float64) @ video.T.astype(np.float64)
    scores = CosineRows(text, video)[0:31]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, exact, rtol=0, atol=1e-7)


def test_a_score_has_the_same_bits_in_any_block_beside_any_neighbours() -> None:
    text, video = unit(2, 61, 768), unit(3, 45, 768)
    whole = CosineRows(text, video)[0:61]
    for size in (1, 2, 7, 16, 33):
        rows = CosineRows(text, video)
        blocks = [rows[block] for block in iter_blocks((61, 45), size)]
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
    order = np.random.default_rng(4).permutation(45)
    np.testing.assert_array_equal(CosineRows(text[::3], video[order])[0:21], whole[::3][:, order])
    owner = np.arange(61) % 45
    np.testing.assert_array_equal(CosineRows(text, video).own(owner), whole[np.arange(61), owner])


def test_a_score_is_the_exact_sum_over_the_grid_rounded_once() -> None:
    """In whole numbers of any length: no order of sums could give another result."""
    text, video = unit(12, 11, 129), unit(13, 7, 129)
    text_steps = [[round(Fraction(float(x)) * 2**26) for x in row] for row in text]
    video_steps = [[round(Fraction(float(x)) * 2**26) for x in row] for row in video]
    exact = [[sum(a * b for a, b in zip(t, v, strict=True)) for v in video_steps] for t in text_steps]
    assert max(abs(total) for row in exact for total in row) < 2**53  # so a float64 holds it
    np.testing.assert_array_equal(
        CosineRows(text, video)[0:11], (np.array(exact) / 2.0**52).astype(np.float32)
    )


def test_the_matrix_is_never_held_as_a_whole() -> None:
    text, video = unit(14, 3000, 16), unit(15, 2000, 16)
    for owner in (np.arange(3000) % 2000, np.arange(3000) // 2):  # captions scattered, and side by side
        tracemalloc.start()
        measure_embeddings(text, video, owner, block_rows=50)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3000 * 2000 * 4 / 4


def test_means_of_unit_vectors_and_half_precision_will_do() -> None:
    text, video = unit(5, 9, 64).astype(np.float16), 0.5 * unit(6, 9, 64).astype(np.float64)
    exact = text.astype(np.float64) @ video.T
    np.testing.assert_allclose(CosineRows(text, video)[0:9], exact, rtol=0, atol=1e-7)


def test_rows_of_an_hdf5_dataset_rank_as_the_embeddings_they_come_from(tmp_path: Path) -> None:
    text, video = unit(7, 57, 16), unit(8, 19, 16)
    owner = np.arange(57) // 3
    with h5py.File(tmp_path / "sims.h5", "w") as file:
        file["similarity"] = CosineRows(text, video)[0:57]
        stored = measure_similarity(file["similarity"], owner, block_rows=10)
    direct = measure_embeddings(text, video, owner)
    assert stored.to_dict(with_ranks=True) == direct.to_dict(with_ranks=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_no_numbers_are_named(value: float) -> None:
    text, video = unit(9, 12, 8), unit(10, 12, 8)
    text[[3, 7], [0, 5]] = value
    video[11, 2] = value
    with pytest.raises(
        NotFiniteError, match=r"2 text embeddings \(row 3, 7\) and 1 video embedding \(row 11\)"
    ) as e:
        measure_embeddings(text, video, np.arange(12))
    assert (e.value.text_indices.tolist(), e.value.video_indices.tolist()) == ([3, 7], [11])
    with pytest.raises(NotFiniteError, match=r"12 video embeddings \(row 0, 1, 2, 3, 4, \.\.\.\)$") as e:
        measure_embeddings(unit(9, 12, 8), np.full((12, 8), value), np.arange(12))
    assert (e.value.text_indices.tolist(), e.value.video_indices.tolist()) == ([], list(range(12)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_named(value: float) -> None:
    scores = np.random.default_rng(11).standard_normal((9, 5))
    scores[4, 3] = scores[8, 1] = scores[8, 2] = value
    with pytest.raises(
        NotFiniteError, match=r"in 2 rows of the similarity, first at \(4, 3\), \(8, 1\)"
    ) as e:
        measure_similarity(scores, np.arange(9) % 5, block_rows=2)
    assert (e.value.text_indices.tolist(), e.value.video_indices.tolist()) == ([4, 8], [3, 1])


def test_embeddings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 3\) and video embeddings \(5, 2\) differ in width"):
        CosineRows(unit(0, 4, 3), unit(0, 5, 2))
    with pytest.raises(ValueError, match=r"text embeddings must be of shape \(rows, width\), got \(3,\)"):
        CosineRows(np.ones(3), unit(0, 5, 3))
    with pytest.raises(ValueError, match=r"video embeddings must be of shape .* got \(0, 3\)"):
        CosineRows(unit(0, 4, 3), np.ones((0, 3)))
    with pytest.raises(ValueError, match="must be L2-normalised, the longest has norm 2"):
        CosineRows(unit(0, 4, 3), 2 * unit(0, 5, 3))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 2, 2)])
def test_scores_of_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"similarity must be of shape \(captions, videos\), got \("):
        measure_similarity(np.zeros(shape), np.zeros(3, int))


def test_blocks_cover_the_rows_once_and_stay_small() -> None:
    for shape, size in (
        ((10, 4), 3),
        ((5, 7), 5),
        ((1, 1), None),
        ((100_000, 1000), None),
        ((50, 10**7), None),
    ):
        blocks = list(iter_blocks(shape, size))
        assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(shape[0]))
        assert all(block.stop - block.start <= (size or 4096) for block in blocks)


def test_the_top_columns_are_those_of_a_stable_sort() -> None:
    scores = np.random.default_rng(5).integers(0, 4, (70_000, 70)).astype(np.float32)
    expected = [sorted(range(70), key=lambda column, row=row: -row[column])[:3] for row in scores[::997]]
    found = top_columns(GivenRows(scores), 3)
    assert found.shape == (70_000, 3)
    assert found[::997].tolist() == expected
