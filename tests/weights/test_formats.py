"""Files, folders and shards of weights, and everything that is not one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.weights_files import write_hugging_face
from vopcli.errors import WeightsError
from vopcli.weights.reader import read_weights

STRANGERS = {
    "is empty": b"",
    "is not a weights file: it begins with .*DOCTYPE": b"\n <!DOCTYPE html><html>Not found</html>",
    "is not a weights file: it begins with b'version https:": b"version https://git-lfs.github.com/spec/v1\n",
    r"is not a weights file: it begins with b'\\x89HDF": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "is not a weights file: it begins with b'hello": b"hello, this is my holiday video" * 9,
    r"contains Python objects \(os\.system\)": b"\x80\x02cos\nsystem\nq\x00.",
    "cannot be read as PyTorch weights": b"\x80\x02}q\x00",
    "is damaged or not a safetensors file": b"\x07\x00\x00\x00\x00\x00\x00\x00{",
}


@pytest.mark.parametrize("message", STRANGERS)
def test_files_that_are_no_weights_are_named(tmp_path: Path, message: str) -> None:
    (tmp_path / "m.pt").write_bytes(STRANGERS[message])
    with pytest.raises(WeightsError, match=rf"m\.pt {message}") as caught:
        read_weights(tmp_path / "m.pt")
    assert caught.value.hint


def test_paths_that_are_no_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="none does not exist"):
        read_weights(tmp_path / "none")
    with pytest.raises(WeightsError, match="contains no weights file") as caught:
        read_weights(tmp_path)
    assert "model.safetensors" in caught.value.hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe is not a file"):
        read_weights(tmp_path / "pipe")
    with pytest.raises(WeightsError, match=r"cannot be read|does not exist"):
        read_weights(tmp_path / ("x" * 300))


SHARDS = {
    "lists no shards": {"weight_map": {}},
    "lists no shards ": {"weight_map": [1]},
    "lists shards outside its folder": {"weight_map": {"a": "../m.safetensors"}},
    "gone.safetensors is missing": {"weight_map": {"a": "gone.safetensors"}},
}


@pytest.mark.parametrize("message", SHARDS)
def test_lists_of_shards_that_lead_nowhere(tmp_path: Path, message: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(SHARDS[message]))
    with pytest.raises(WeightsError, match=message.strip()):
        read_weights(tmp_path)


def test_folder_prefers_what_cannot_run_code(tmp_path: Path) -> None:
    write_hugging_face(tmp_path / "hf")
    (tmp_path / "hf" / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert read_weights(tmp_path / "hf").kind == "Hugging Face (safetensors)"
