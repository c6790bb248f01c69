import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.clip import clip_of, openai_shape, random_clip, random_state, random_tokens, tiny_clip
from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import NumpyTextTower, text_tensors
from vopcli.config.choices import Activation

SHAPES = [
    pytest.param(tiny_clip(Activation.QUICK_GELU), id="quick_gelu"),
    pytest.param(tiny_clip(Activation.GELU), id="gelu"),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("num_texts", "length"), [(1, 6), (1, 77), (17, 30)])
def test_equals_the_torch_tower(shape: ClipShape, num_texts: int, length: int) -> None:
    tokens = random_tokens(num_texts, length=length)
    expected = functional.normalize(random_clip(shape).encode_text(tokens), dim=-1)
    found = NumpyTextTower(random_state(shape), shape).encode(tokens.numpy())
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_wrong_activation_is_seen(shape: ClipShape) -> None:
    tokens = random_tokens(3, length=20)
    found = NumpyTextTower(random_state(shape), shape).encode(tokens.numpy())
    other = {Activation.GELU: Activation.QUICK_GELU, Activation.QUICK_GELU: Activation.GELU}[shape.activation]
    wrong = ClipShape(**{**vars(shape), "activation": other})
    assert np.abs(NumpyTextTower(random_state(shape), wrong).encode(tokens.numpy()) - found).max() > 1e-4


@pytest.mark.slow
def test_equals_the_torch_tower_at_full_size() -> None:
    shape = openai_shape("ViT-B/32")
    state = random_state(shape)
    clip, tower = clip_of(shape, state), NumpyTextTower(state, shape)
    for num_texts, length in [(1, 6), (1, 77), (5, 30)]:
        tokens = random_tokens(num_texts, length=length)
        expected = functional.normalize(clip.encode_text(tokens), dim=-1)
        found = torch.from_numpy(tower.encode(tokens.numpy()))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_batch_equals_one_by_one() -> None:
    shape = tiny_clip()
    tower = NumpyTextTower(random_state(shape), shape)
    ids = random_tokens(8, length=20).numpy()
    alone = np.concatenate([tower.encode(row[None, : (row != 0).sum()]) for row in ids])
    np.testing.assert_allclose(tower.encode(ids), alone, rtol=0, atol=2e-6)


def test_reads_mapped_files_and_only_what_it_names(tmp_path: Path) -> None:
    shape = tiny_clip()
    state = random_state(shape)
    mapped = {}
    for name in text_tensors(shape):
        np.save(tmp_path / f"{name}.npy", state[name])
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    assert set(mapped) == {name for name in state if not name.startswith("visual") and name != "logit_scale"}
    ids = random_tokens(3, length=12).numpy()
    assert np.array_equal(NumpyTextTower(mapped, shape).encode(ids), NumpyTextTower(state, shape).encode(ids))


def test_extreme_values_stay_finite_without_warning() -> None:
    shape = tiny_clip()
    state = dict(random_state(shape))
    state["transformer.resblocks.0.mlp.c_fc.bias"] = np.linspace(-300, 300, 240, dtype=np.float32)
    assert np.isfinite(NumpyTextTower(state, shape).encode(random_tokens(2).numpy())).all()


def test_too_long_is_refused_and_none_is_none() -> None:
    shape = tiny_clip()
    tower = NumpyTextTower(random_state(shape), shape)
    with pytest.raises(ValueError, match="78 tokens long, the model takes 77"):
        tower.encode(np.ones((1, 78), dtype=np.int64))
    assert tower.encode(np.zeros((0, 2), dtype=np.int64)).shape == (0, 40)


def test_loads_no_torch() -> None:
    code = "import sys, vopcli.clip.text_numpy, vopcli.clip.tokenizer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
