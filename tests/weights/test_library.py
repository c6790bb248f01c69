"""List, convert and describe weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.weights_files import TINY, make_tensors, write_torchscript
from vopcli.errors import FileError, UsageError
from vopcli.progress import SilentProgress
from vopcli.weights.catalog import ENTRIES
from vopcli.weights.library import check_target, convert_weights, get_model, list_models, show_weights


def test_every_model_has_a_state(tmp_path: Path) -> None:
    (tmp_path / ENTRIES[0].file).write_bytes(b"not the model")
    (tmp_path / f"{ENTRIES[1].file}.part").write_bytes(b"begun")
    states = {model.name: (model.state, model.num_bytes) for model in list_models(tmp_path)}
    assert states["ViT-B/32"] == ("wrong", 13)
    assert states["ViT-B/16"] == ("partial", ENTRIES[1].num_bytes)
    assert states["ViT-L/14"] == ("missing", ENTRIES[2].num_bytes)
    demo = next(model for model in list_models(tmp_path) if model.name == "demo-tiny")
    assert demo.state == "built in"
    file = get_model("Demo-Tiny", cache=tmp_path, progress=SilentProgress())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == demo.sha256
    with pytest.raises(UsageError, match="no model is called 'ViT-X'"):
        get_model("ViT-X", cache=tmp_path, progress=SilentProgress())


def test_converted_weights_are_the_same_model(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "m.pt", make_tensors(openai_mix=True))
    before = show_weights(str(tmp_path / "m.pt"), cache=tmp_path)
    after = convert_weights(
        str(tmp_path / "m.pt"), tmp_path / "m.safetensors", cache=tmp_path, progress=SilentProgress()
    )
    assert after["fingerprint"] == before["fingerprint"]
    assert after["dtypes"] == before["dtypes"]
    assert (before["kind"], after["kind"]) == ("OpenAI (TorchScript)", "safetensors")
    assert before["vision_heads"] == TINY.vision_heads


def test_target_must_be_a_new_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "d.safetensors").mkdir()
    for name, problem, kind in (
        ("a.pt", "does not end in .safetensors", UsageError),
        ("d.safetensors", "cannot be written", UsageError),
        ("none/a.safetensors", "cannot be written", UsageError),
        ("a.safetensors", "exists", FileError),
    ):
        with pytest.raises(kind, match=problem):
            check_target(tmp_path / name, overwrite=False)
    check_target(tmp_path / "a.safetensors", overwrite=True)
    check_target(tmp_path / "b.safetensors", overwrite=False)
