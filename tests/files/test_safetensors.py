from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from vopcli.errors import FileError, WeightsError
from vopcli.files.safetensors import read_safetensors, write_safetensors_file

ARRAYS: dict[str, Any] = {
    "b.half": np.arange(7, dtype=np.float16),
    "a.single": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32),
    "scalar": np.array(2.5, np.float32),
    "empty": np.empty((0, 4), np.float32),
    "double": np.arange(3.0),
    "long": np.arange(5),
    "byte": np.arange(3, dtype=np.uint8),
    "yes": np.array([True, False]),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "naïve \U0001f600": np.ones(1, np.float32),
}


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_array_equal(ours[name], expected, strict=True, err_msg=name)


def test_library_reads_what_we_write(tmp_path: Path) -> None:
    write_safetensors_file(tmp_path / "f.safetensors", ARRAYS, {"activation": "gelu"})
    assert_same(safetensors.numpy.load_file(tmp_path / "f.safetensors"), ARRAYS)
    with safetensors.safe_open(tmp_path / "f.safetensors", framework="numpy") as file:
        assert file.metadata() == {"activation": "gelu"}
    assert [path.name for path in tmp_path.iterdir()] == ["f.safetensors"]


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in ARRAYS.items()}
    safetensors.numpy.save_file(plain, tmp_path / "f.safetensors", metadata={"format": "np"})
    file = read_safetensors(tmp_path / "f.safetensors")
    assert file.metadata == {"format": "np"}
    assert_same(file.tensors, plain)
    assert all(array.flags.aligned for array in file.tensors.values())


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    bits = torch.arange(0x10000, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    tensor = bits[~bits.isnan()].clone()
    safetensors.torch.save_file({"a": tensor}, tmp_path / "f.safetensors")
    np.testing.assert_array_equal(
        read_safetensors(tmp_path / "f.safetensors").tensors["a"], tensor.float().numpy(), strict=True
    )


def test_nothing_is_loaded_or_changed(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    write_safetensors_file(path, ARRAYS, {})
    before = path.read_bytes()
    array = read_safetensors(path).tensors["a.single"]
    base = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    array[:] = 0  # torch asks for arrays that may be written
    assert path.read_bytes() == before


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    write_safetensors_file(path, ARRAYS, {})
    with pytest.raises(WeightsError, match="odd holds complex64"):
        write_safetensors_file(path, {"odd": np.zeros(2, np.complex64)}, {})
    assert_same(read_safetensors(path).tensors, ARRAYS)
    with pytest.raises(FileError, match=r"is a folder|cannot be used|not a folder"):
        write_safetensors_file(path / "below" / "f.safetensors", ARRAYS, {})


def raw(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: object = (2,), offsets: object = (0, 8), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


DAMAGED = {
    "cut header": (raw({"a": entry()}, length=10**6), "shorter than its header says"),
    "absurd header": (raw({"a": entry()}, length=1 << 63), "shorter than its header says"),
    "no JSON": (raw(b'{"a": '), "not readable JSON"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not readable JSON"),
    "deep JSON": (raw(b'{"a":' * 100_000), "not readable JSON"),
    "deep list": (raw(b'{"a":' + b"[" * 100_000), "not readable JSON"),
    "huge number": (raw(b'{"a":' + b"9" * 10_000 + b"}"), "not readable JSON"),
    "name twice": (raw(b'{"a": 1, "a": 1}'), "not readable JSON"),
    "entry of nonsense": (raw({"a": 3}), "the entry of a makes no sense"),
    "negative shape": (raw({"a": entry(shape=(-2,))}, bytes(8)), "the entry of a makes no sense"),
    "float shape": (raw({"a": entry(shape=(2.0,))}, bytes(8)), "the entry of a makes no sense"),
    "true shape": (raw({"a": entry(shape=(True,))}, bytes(8)), "the entry of a makes no sense"),
    "absurd shape": (raw({"a": entry(shape=(1 << 60,))}, bytes(8)), "the entry of a makes no sense"),
    "shape that wraps around": (
        raw({"a": entry(shape=(1 << 33, 1 << 33))}, bytes(8)),
        "does not fit its shape",
    ),
    "three offsets": (raw({"a": entry(offsets=(0, 8, 8))}, bytes(8)), "does not fit its shape"),
    "backward range": (raw({"a": entry(offsets=(8, 0))}, bytes(8)), "does not fit its shape"),
    "short range": (raw({"a": entry(offsets=(0, 4))}, bytes(8)), "does not fit its shape"),
    "hole": (raw({"a": entry(offsets=(4, 12))}, bytes(12)), "leaves a hole or overlaps"),
    "overlap": (raw({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "leaves a hole or overlaps"),
    "cut data": (raw({"a": entry()}, bytes(7)), "take 8 bytes and 7 are there"),
    "data too many": (raw({"a": entry()}, bytes(9)), "take 8 bytes and 9 are there"),
    "no data": (raw({"a": entry()}), "take 8 bytes and 0 are there"),
    "quantised": (raw({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, bytes(2)), "numbers of type F8_E4M3"),
    "type of nonsense": (raw({"a": entry(dtype=["F32"])}, bytes(8)), "numbers of type"),
    "metadata of nonsense": (raw({"__metadata__": {"a": 1}}), "its metadata is not a list of texts"),
    "metadata a text": (raw({"__metadata__": "x"}), "its metadata is not a list of texts"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, what: str) -> None:
    content, message = DAMAGED[what]
    (tmp_path / "f.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_safetensors(tmp_path / "f.safetensors")
    assert str(tmp_path / "f.safetensors") in str(caught.value)


def test_file_without_tensors_is_whole(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(raw({}))
    assert read_safetensors(tmp_path / "f.safetensors").tensors == {}
