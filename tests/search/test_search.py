"""Searching without torch: scores of the torch path, the best moment, and where the text tower comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import vopcli
from tests.support.clip import tiny_clip
from tests.support.indexes import unit_rows
from tests.support.models import open_clip_texts, write_model
from tests.support.progress import Warnings
from vopcli.config.choices import parse_pooling
from vopcli.errors import DataError, UsageError, WeightsError
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.methods.encoder import load_model
from vopcli.search.hits import Hit
from vopcli.search.search import Index, open_index
from vopcli.weights.reader import read_weights

WIDTH = tiny_clip().embed_dim
NUM_VIDEOS = 500
QUERIES = ["a dog playing with its tail", "a cat", "Über den Wolken 🥊", "7 red circles", "word " * 10_000]


@pytest.fixture(scope="module")
def fingerprint(weights: Path) -> str:
    return read_weights(weights).fingerprint()


@pytest.fixture(scope="module")
def embeddings() -> NDArray[np.float32]:
    rows = unit_rows(NUM_VIDEOS, width=WIDTH, seed=9)
    rows[100:110] = rows[99]  # equal scores
    return rows


@pytest.fixture
def index(tmp_path: Path, weights: Path, fingerprint: str, embeddings: NDArray[np.float32]) -> Path:
    path = tmp_path / "i.h5"
    write_index(path, str(weights), fingerprint, embeddings)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "text"


def path_of(number: int) -> str:
    return f"v{(number * 7919) % NUM_VIDEOS:04d}.mp4"


def write_index(path: Path, weights: str, fingerprint: str, embeddings: NDArray[np.float32]) -> None:
    """An index whose videos have 3 real frames at 0.5, 10.25 and 3605 s, and a repeat of the last."""
    create_index(path, IndexMeta(weights, fingerprint, {"sampling": "uniform:4", "size": 35}, WIDTH))
    with IndexWriter(path) as writer:
        count = len(embeddings)
        writer.lay_out([NewVideo("/videos", path_of(i), 1, 2, num_frames=4) for i in range(count)])
        writer.add(
            [
                EncodedVideo(i, row, frames_of(i), np.array([0.5, 10.25, 3605.0, 3605.0]), 3, 4000.0)
                for i, row in enumerate(embeddings)
            ]
        )


def frames_of(number: int) -> NDArray[np.float16]:
    frames = unit_rows(4, width=WIDTH, seed=10_000 + number).astype(np.float16)
    frames[3] = frames[2]
    return frames


def by_definition(query: NDArray[np.float32], embeddings: NDArray[np.float32]) -> list[tuple[float, str]]:
    scores = embeddings.astype(np.float64) @ query.astype(np.float64)
    pairs = [(float(np.float32(score)), path_of(i)) for i, score in enumerate(scores)]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def test_scores_and_order_are_those_of_the_torch_path(
    index: Path, weights: Path, embeddings: NDArray[np.float32]
) -> None:
    torch_texts = load_model(weights, device="cpu", precision="fp32").encode_text(QUERIES)
    np.testing.assert_allclose(torch_texts, open_clip_texts(QUERIES), atol=1e-5)
    found = open_index(index).search(QUERIES, top=NUM_VIDEOS)
    assert len(found) == len(QUERIES)
    for hits, query in zip(found, torch_texts, strict=True):
        expected = by_definition(query, embeddings)
        assert len(hits) == NUM_VIDEOS
        np.testing.assert_allclose([hit.score for hit in hits], [score for score, _ in expected], atol=1e-5)
        # the same order, where more than rounding sets two scores apart
        places = {path: place for place, (_, path) in enumerate(expected)}
        for place, hit in enumerate(hits):
            assert abs(expected[places[hit.path]][0] - expected[place][0]) < 1e-5


def test_order_is_score_then_path_and_shorter_lists_begin_longer_ones(index: Path) -> None:
    opened = open_index(index)
    longest = opened.search("a dog", top=NUM_VIDEOS)
    assert longest == sorted(longest, key=lambda hit: (-hit.score, hit.path))
    equal = [hit.path for hit in longest if hit.path in {path_of(i) for i in range(99, 110)}]
    assert equal == sorted(equal)
    assert len(equal) == 11
    for top in (1, 2, 10, 104, 499, 9999):
        assert opened.search("a dog", top=top) == longest[:top]
    assert vopcli.open_index(index).search("a dog") == longest[:10]


def test_best_moment_is_that_of_the_real_frame_that_fits_best(index: Path) -> None:
    opened = open_index(index)
    (query,) = opened.encode(["a cat"])
    numbers = {path_of(i): i for i in range(NUM_VIDEOS)}
    moments = set()
    for hit in opened.search("a cat", top=50):
        frames = frames_of(numbers[hit.path]).astype(np.float32)
        assert hit.best == [0.5, 10.25, 3605.0][int(np.argmax(frames[:3] @ query))]
        assert hit.file == Path("/videos") / hit.path
        assert hit.start <= hit.best <= hit.end
        moments.add(hit.best)
    assert moments == {0.5, 10.25, 3605.0}


def test_least_score_leaves_out_the_rest(index: Path) -> None:
    opened = open_index(index)
    hits = opened.search("a dog", top=NUM_VIDEOS)
    least = hits[40].score
    assert opened.search("a dog", top=NUM_VIDEOS, min_score=least) == [
        hit for hit in hits if hit.score >= least
    ]
    assert opened.search("a dog", min_score=1.1) == []
    assert opened.search(["a dog", "a cat"], min_score=1.1) == [[], []]


def test_queries_that_are_odd(index: Path) -> None:
    notes = Warnings()
    opened = Index(index, progress=notes)
    assert opened.search([]) == []
    for empty in ("", " \t\n"):
        with pytest.raises(UsageError, match="query is empty"):
            opened.search(empty)
        with pytest.raises(UsageError, match="query is empty"):
            opened.search(["fine", empty])
    with pytest.raises(UsageError, match="cannot return 0 videos"):
        opened.search("a", top=0)
    long = opened.search("word " * 10_000)
    assert long == opened.search("word " * 75)
    assert len(notes.warnings) == 1
    assert "77 tokens" in notes.warnings[0]


def test_empty_index_needs_no_model(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    create_index(path, IndexMeta("nowhere", "0" * 64, {}, WIDTH))
    opened = open_index(path)
    assert len(opened) == 0
    assert opened.search("a dog") == []
    assert opened.search(["a dog", "a cat"]) == [[], []]


def test_search_and_its_imports_load_no_torch(index: Path) -> None:
    code = """
import sys
import vopcli
hits = vopcli.open_index(sys.argv[1]).search("a dog", top=3)
assert len(hits) == 3
slow = {"torch", "av", "cv2", "PIL", "transformers", "regex", "ftfy", "typer"} & sys.modules.keys()
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code, str(index)], check=True)  # makes the cached tower
    subprocess.run([sys.executable, "-c", code, str(index)], check=True)


def test_text_tower_is_kept_and_made_anew(index: Path, weights: Path, fingerprint: str, cache: Path) -> None:
    expected = open_index(index).search("a dog")
    (kept,) = cache.iterdir()
    assert kept.name == f"{fingerprint}.safetensors"
    whole = kept.read_bytes()
    hidden = weights.rename(weights.with_suffix(".hidden"))
    try:
        assert open_index(index).search("a dog") == expected  # from the cache alone
        kept.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(
            WeightsError, match=r"the weights of the index's model are missing: .*tiny\.safetensors"
        ) as raised:
            open_index(index).search("a dog")
        assert "--weights" in raised.value.hint
    finally:
        hidden.rename(weights)
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 100, whole.replace(b'"F32"', b'"F16"')):
        kept.write_bytes(damaged)
        assert open_index(index).search("a dog") == expected
        assert kept.read_bytes() == whole
    assert [item.name for item in cache.iterdir()] == [kept.name]


def test_weights_that_the_user_names_are_checked(
    index: Path, weights: Path, tmp_path: Path, fingerprint: str, embeddings: NDArray[np.float32]
) -> None:
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(WeightsError, match="is not the model of the index"):
        Index(index, weights=str(other)).search("a dog")
    expected = Index(index, weights=str(weights)).search("a dog")
    assert expected == open_index(index).search("a dog")
    moved = tmp_path / "moved.h5"
    write_index(moved, str(tmp_path / "gone.safetensors"), fingerprint, embeddings)
    lonely = Index(moved, fallbacks=[str(other), str(weights)], cache=tmp_path / "other-cache")
    assert lonely.search("a dog") == expected


def test_cache_that_cannot_be_written(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    notes = Warnings()
    hits: list[Hit] = Index(index, cache=tmp_path / "file", progress=notes).search("a dog")
    assert len(hits) == 10
    assert "cannot be written" in notes.warnings[0]


def test_damaged_tensors_in_the_cache(index: Path, cache: Path) -> None:
    open_index(index).search("a dog")
    (kept,) = cache.iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2 :] = b"\xff\xff\xff\x7f" * ((len(content) - len(content) // 2) // 4)  # NaN
    kept.write_bytes(content[: kept.stat().st_size])
    with pytest.raises(DataError, match="the embedding of the query is NaN or infinite") as raised:
        open_index(index).search("a dog")
    assert str(cache) in raised.value.hint


def test_a_vector_is_searched_as_a_text_of_that_embedding(index: Path) -> None:
    opened = open_index(index)
    vector = opened.encode(["a dog"])[0]
    expected = opened.search("a dog", top=NUM_VIDEOS)
    found = opened.search(3.0 * vector, top=NUM_VIDEOS)  # L2-normalised before the search
    assert [hit.best for hit in found] == [hit.best for hit in expected]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], atol=1e-6)
    mixed = opened.search(["a cat", 3.0 * vector, "a dog"], top=5)
    alone = [opened.search("a cat", top=5), found[:5], expected[:5]]
    assert [[hit.path for hit in hits] for hits in mixed] == [[hit.path for hit in hits] for hits in alone]


def test_a_frame_is_searched_with_the_image_model(index: Path, weights: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 70, 3), dtype=np.uint8)
    vector = load_model(weights, precision="fp32").encode_frames(frame[None, None])[0, 0]
    opened = open_index(index)
    assert opened.search(frame, top=9) == opened.search(vector, top=9)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros(WIDTH, np.float32), "the vector is zero"),
        (np.full(WIDTH, np.nan, np.float32), "the vector is zero, infinite or NaN"),
        (np.ones(WIDTH + 1, np.float32), "cannot search for an array of shape"),
        (np.ones(WIDTH, np.int64), "and dtype int64"),
        (np.ones((2, WIDTH), np.float32), "cannot search for an array of shape"),
        (7, "cannot search for an array of shape"),
    ],
)
def test_other_queries_are_refused(index: Path, query: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_index(index).search(query)  # type: ignore[call-overload]
    assert caught.value.hint


def test_pooling_and_norm_can_be_chosen_for_one_search(index: Path) -> None:
    opened = open_index(index)
    by_max = Index(index, pooling=parse_pooling("max")).search("a dog", top=9)
    assert opened.search("a dog", top=9, pooling="max") == by_max != opened.search("a dog", top=9)
    with pytest.raises(DataError, match="no query bank"):
        opened.search("a dog", norm="qb")
    with pytest.raises(UsageError, match="unknown hubness correction 'dual'"):
        opened.search("a dog", norm="dual")
    with pytest.raises(UsageError, match="'median'"):
        opened.search("a dog", pooling="median")


def test_rows_come_in_the_order_of_the_index_with_their_arrays(
    index: Path, embeddings: NDArray[np.float32]
) -> None:
    with open_index(index) as opened:
        rows = list(opened)
    assert [row.path for row in rows] == [path_of(number) for number in range(NUM_VIDEOS)]
    assert np.array_equal([row.embedding for row in rows], embeddings)
    assert np.array_equal(rows[7].frames, frames_of(7))
    assert rows[7].seconds.tolist() == [0.5, 10.25, 3605.0, 3605.0]
    assert rows[7].file == Path("/videos") / path_of(7)
