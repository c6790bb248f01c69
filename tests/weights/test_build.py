"""A PyTorch model from weights: dtypes, frozen parameters, and tensors that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.models import write_model
from vopcli.weights.build import build_clip
from vopcli.weights.reader import read_weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_have_the_wanted_dtype_and_are_frozen(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = read_weights(write_model(tmp_path / "m.safetensors"))
    state = build_clip(weights, device="cpu", dtype=dtype).state_dict(keep_vars=True)
    assert state.keys() == weights.tensors.keys()
    for name, tensor in state.items():
        is_norm = ".ln_" in f".{name}"
        wide = name == "logit_scale" or (dtype == torch.float16 and is_norm)
        assert tensor.dtype == (torch.float32 if wide else dtype), name
        assert not tensor.requires_grad
        expected = torch.tensor(weights.tensors[name], dtype=torch.float32).to(tensor.dtype)
        assert torch.equal(tensor, expected), name


def test_model_does_not_share_memory_with_the_weights(tmp_path: Path) -> None:
    weights = read_weights(write_model(tmp_path / "m.safetensors"))
    before = weights.tensors["visual.proj"].copy()
    build_clip(weights, device="cpu", dtype=torch.float32).visual.proj.data.zero_()
    assert (weights.tensors["visual.proj"] == before).all()


def test_missing_tensor_is_refused(tmp_path: Path) -> None:
    weights = read_weights(write_model(tmp_path / "m.safetensors"))
    del weights.tensors["visual.proj"]
    with pytest.raises(RuntimeError, match=r"visual\.proj"):
        build_clip(weights, device="cpu", dtype=torch.float32)
