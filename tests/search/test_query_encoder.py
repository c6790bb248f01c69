"""Queries of every kind, alone and together: the vectors of their parts, and the model that is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.clip import tiny_clip
from tests.support.indexes import make_index
from tests.support.models import open_clip_texts, write_model
from vopcli.errors import FileError, UsageError
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.query import Query
from vopcli.search.query_encoder import QueryEncoder
from vopcli.search.text_tower import ModelSource, TextEncoder
from vopcli.weights.reader import read_weights

FRAME = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of two videos, made with a tiny model that lies beside it."""
    weights = write_model(tmp_path / "tiny.safetensors")
    meta = IndexMeta(
        str(weights), read_weights(weights).fingerprint(), {"sampling": "uniform:3"}, tiny_clip().embed_dim
    )
    make_index(tmp_path / "i.h5", ["a.mp4", "b.mp4"], meta=meta)
    Image.fromarray(FRAME).save(tmp_path / "shot.png")
    return tmp_path / "i.h5"


def source_of(path: Path) -> ModelSource:
    return ModelSource(path.parent / "cache", SilentProgress())


def encoder_of(path: Path) -> QueryEncoder:
    return QueryEncoder(VideoIndex(path), source_of(path))


def test_parts_are_weighted_and_added(path: Path) -> None:
    encoder = encoder_of(path)
    picture = f"image:{path.parent / 'shot.png'}"
    query = Query.parse("a dog", f"2:{picture}", minus=["0.5:a cat", "like:b.mp4"])
    (dog, cat), (shot,) = open_clip_texts(["a dog", "a cat"]), encoder.encode([FRAME])
    expected = dog + 2 * shot - 0.5 * cat - VideoIndex(path).embedding_of(1)
    found = encoder.encode([query, "a cat", Query.parse(picture), VideoIndex(path).embedding_of(1)])
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_allclose(found[1], cat, atol=1e-5)
    assert np.array_equal(found[2], shot)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_the_vector_of_a_text_is_that_of_the_text_alone(path: Path) -> None:
    encoder = encoder_of(path)
    alone = TextEncoder(VideoIndex(path), source_of(path)).encode(["a dog"])
    assert np.array_equal(encoder.encode(["a dog"]), alone)
    assert np.array_equal(encoder.encode(["a dog", "a dog"])[1], encoder.encode(["a dog"])[0])


def test_a_missing_picture_is_told_before_a_model_is_loaded(path: Path) -> None:
    (path.parent / "tiny.safetensors").unlink()
    with pytest.raises(FileError, match="does not exist"):
        encoder_of(path).encode([Query.parse(f"image:{path.parent / 'gone.png'}")])


def test_a_frame_of_the_index_loads_no_model(path: Path) -> None:
    """Neither torch nor the text tower: the weights do not even exist."""
    (path.parent / "tiny.safetensors").unlink()
    code = (
        "import sys, vopcli\n"
        f"hits = vopcli.open_index({str(path)!r}).search(vopcli.Query.parse('like:b.mp4'))\n"
        "assert [hit.path for hit in hits] == ['b.mp4', 'a.mp4'], hits\n"
        "assert not {'torch', 'cv2', 'av', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("query", [" ", Query(()), Query.parse("like:a.mp4", minus=["like:a.mp4"])])
def test_empty_and_zero_queries_are_refused(path: Path, query: str | Query) -> None:
    with pytest.raises(UsageError) as caught:
        encoder_of(path).encode([query])
    assert caught.value.hint
