"""The demo's model, and search with it."""

from __future__ import annotations

import hashlib
import itertools
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from vopcli.clip.text_numpy import NumpyTextTower, text_tensors
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Activation
from vopcli.config.schema import BackboneConfig, Config, DataConfig
from vopcli.datasets.demo.folder import INDEX, STORE, VIDEOS, DemoRequest, make_demo
from vopcli.datasets.demo.scenes import COLOURS, SHAPES, plan_demo
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.progress import SilentProgress
from vopcli.resources import packaged_file
from vopcli.search.search import Index
from vopcli.weights.reader import read_weights

QUIET = SilentProgress()
WEIGHTS = packaged_file("demo/demo-tiny.safetensors")
LOOKS = list(itertools.product(COLOURS, SHAPES))


def test_the_readme_beside_the_weights_names_this_very_file() -> None:
    readme = packaged_file("demo/README.md").read_text(encoding="utf-8")
    content = WEIGHTS.read_bytes()
    assert re.findall(r"\b[0-9a-f]{64}\b", readme) == [hashlib.sha256(content).hexdigest()]
    assert f"{len(content):,} bytes" in readme


def test_the_weights_are_small_and_pack_well() -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) <= 16_000_000
    assert len(zlib.compress(content)) < 5_000_000


def test_only_words_of_the_captions_have_a_row() -> None:
    with safe_open(WEIGHTS, "numpy") as file:
        table = file.get_tensor("token_embedding.weight")
        assert file.metadata()["activation"] == "quick_gelu"
    tokenizer = Tokenizer()
    known = " ".join([*COLOURS, *SHAPES, "small large left right top bottom middle"])
    used = np.flatnonzero(table.any(axis=1))
    assert set(tokenizer.encode(known)) | {49406, 49407} <= set(used.tolist())
    assert len(used) < 60
    assert table.shape == (49408, 128)


def test_the_weights_are_a_clip_model_of_the_documented_sizes() -> None:
    shape = read_weights(WEIGHTS).shape
    assert (shape.image_resolution, shape.patch_size, shape.vision_layers, shape.text_layers) == (48, 8, 4, 4)
    assert (shape.vision_width, shape.text_width, shape.embed_dim, shape.context_length) == (
        128,
        128,
        128,
        77,
    )
    assert shape.activation is Activation.QUICK_GELU


def test_the_text_tower_tells_the_deciding_words_apart() -> None:
    """Tuning cannot teach a frozen tower words that it does not tell apart."""
    weights = read_weights(WEIGHTS)
    tensors = {name: weights.tensors[name].astype(np.float32) for name in text_tensors(weights.shape)}
    tower, tokenizer = NumpyTextTower(tensors, weights.shape), Tokenizer()
    captions = {
        (video.start.look, video.change): video.captions[0] for pair in plan_demo(seed=0) for video in pair
    }
    embedded = dict(zip(captions, tower.encode(tokenizer.tokenize(list(captions.values()))[0]), strict=True))
    for change, opposite in (("right", "left"), ("top", "bottom"), ("large", "small")):
        for colour, shape in LOOKS:
            look = f"{colour} {shape}"
            assert embedded[look, change] @ embedded[look, opposite] < 0.8


@pytest.mark.parametrize("seed", [0, 7])
def test_first_hits_have_colour_and_shape(tmp_path: Path, seed: int) -> None:
    test_pairs = [pair for pair in plan_demo(seed=seed) if pair[0].split == "test"]
    one_each = [
        next(pair for pair in test_pairs[number % 3 :: 3] if pair[0].start.look == f"{colour} {shape}")
        for number, (colour, shape) in enumerate(LOOKS)
    ]
    folder = tmp_path / "demo"
    make_demo(DemoRequest(folder, seed=seed), progress=QUIET, pairs=one_each)
    data = DataConfig(size=48, num_frames=4, workers=0)
    extract(ExtractRequest([folder / VIDEOS], folder / STORE, data), QUIET)
    encode(EncodeRequest([folder / STORE], folder / INDEX, Config(BackboneConfig("demo-tiny"))), QUIET)
    queries = [f"a {colour} {shape}" for colour, shape in LOOKS]
    first = [hits[0] for hits in Index(folder / INDEX, progress=QUIET).search(queries, top=1)]
    right = [
        Path(hit.path).name.startswith(f"{'-'.join(look)}-") for look, hit in zip(LOOKS, first, strict=True)
    ]
    assert sum(right) >= 0.8 * 24
    assert first[0].file.is_file()
