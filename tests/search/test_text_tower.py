"""The text tower of an index: from the cache, from its weights, and with neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.models import write_model
from vopcli.clip.text_numpy import NumpyTextTower
from vopcli.errors import WeightsError
from vopcli.index.meta import IndexMeta
from vopcli.progress import SilentProgress
from vopcli.search.text_tower import ModelSource, keep_text_tower, load_text_tower, text_tower_path
from vopcli.weights.reader import Weights, read_weights

IDS = np.array([[3, 5, 1, 0], [4, 2, 0, 0]])


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return read_weights(write_model(tmp_path / "tiny.safetensors"))


def tower(
    weights: Weights, cache: Path, *, named: str | None = None, fallbacks: tuple[str, ...] = ()
) -> NumpyTextTower:
    last = fallbacks[-1] if fallbacks else "gone.pt"
    meta = IndexMeta(last, weights.fingerprint(), {}, weights.shape.embed_dim)
    return load_text_tower(meta, ModelSource(cache, SilentProgress(), named, fallbacks[:-1]))


def test_cached_tower_equals_that_of_the_weights(weights: Weights, tmp_path: Path) -> None:
    read = tower(weights, tmp_path / "cache", named=str(weights.path))
    weights.path.unlink()
    mapped = tower(weights, tmp_path / "cache")
    np.testing.assert_array_equal(mapped.encode(IDS), read.encode(IDS))
    assert text_tower_path(tmp_path / "cache", weights.fingerprint()).is_file()


def test_damaged_cache_is_replaced_and_missing_weights_are_listed(weights: Weights, tmp_path: Path) -> None:
    kept = text_tower_path(tmp_path, weights.fingerprint())
    keep_text_tower(weights, weights.fingerprint(), tmp_path, SilentProgress())
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    with pytest.raises(WeightsError, match=r"model are missing: gone\.pt does not exist") as caught:
        tower(weights, tmp_path, fallbacks=("gone.pt",))
    assert "--weights" in caught.value.hint
    tower(weights, tmp_path, fallbacks=("gone.pt", str(weights.path)))
    assert kept.read_bytes() == whole


def test_other_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(WeightsError, match="is not the model of the index"):
        tower(weights, tmp_path, named=str(other))


@pytest.mark.parametrize("own", ["ViT-B/32", "demo-tiny"])
def test_the_name_of_another_model_is_refused_before_it_is_downloaded(tmp_path: Path, own: str) -> None:
    source = ModelSource(tmp_path, SilentProgress(), "PE-Core-B16-224")
    with pytest.raises(WeightsError, match=f"is not the model of the index, which is {own}"):
        load_text_tower(IndexMeta(own, "0" * 64, {}, 8), source)
    assert not list(tmp_path.iterdir())
