from __future__ import annotations

import json
import resource
import signal
import struct
import time
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


@pytest.mark.parametrize(("number", "width"), [(300_000, 1), (30_000, 1), (2, 3 << 20)])
def test_too_many_tensors_are_refused_unread(tmp_path: Path, number: int, width: int) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{n:0{width}}": entry for n in range(number)}).encode()
    path = tmp_path / "f.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    began = time.process_time()
    with pytest.raises(WeightsError, match=r"header of more than 4 MiB|has 30000 tensors, more than 20000"):
        read_safetensors(path)
    assert time.process_time() - began < 1


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    write_safetensors_file(path, ARRAYS, {})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(FileError, match=r"f\.safetensors cannot be used: .*File too large"):
            write_safetensors_file(path, {"big": np.zeros(1 << 17, np.uint8)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [item.name for item in tmp_path.iterdir()] == ["f.safetensors"]
    assert_same(read_safetensors(path).tensors, ARRAYS)
    with pytest.raises(FileError, match=r"is a folder|cannot be used|not a folder"):
        write_safetensors_file(path / "below" / "f.safetensors", ARRAYS, {})


def raw(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: object = (2,), offsets: object = (0, 8), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


DAMAGED = {
    "cut header": raw({"a": entry()}, length=10**6),
    "absurd header": raw({"a": entry()}, length=1 << 63),
    "no JSON": raw(b'{"a": '),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "deep JSON": raw(b'{"a":' * 100_000),
    "deep list": raw(b'{"a":' + b"[" * 100_000),
    "huge number": raw(b'{"a":' + b"9" * 10_000 + b"}"),
    "name twice": raw(b'{"a": 1, "a": 1}'),
    "entry of nonsense": raw({"a": 3}),
    "negative shape": raw({"a": entry(shape=(-2,))}, bytes(8)),
    "float shape": raw({"a": entry(shape=(2.0,))}, bytes(8)),
    "true shape": raw({"a": entry(shape=(True,))}, bytes(8)),
    "absurd shape": raw({"a": entry(shape=(1 << 60,))}, bytes(8)),
    "shape that wraps around": raw({"a": entry(shape=(1 << 33, 1 << 33))}, bytes(8)),
    "three offsets": raw({"a": entry(offsets=(0, 8, 8))}, bytes(8)),
    "backward range": raw({"a": entry(offsets=(8, 0))}, bytes(8)),
    "short range": raw({"a": entry(offsets=(0, 4))}, bytes(8)),
    "hole": raw({"a": entry(offsets=(4, 12))}, bytes(12)),
    "overlap": raw({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "hole beside a long name": raw({"x" * 1_000_000: entry(offsets=(4, 12))}, bytes(12)),
    "cut data": raw({"a": entry()}, bytes(7)),
    "data too many": raw({"a": entry()}, bytes(9)),
    "no data": raw({"a": entry()}),
    "shape of too many axes": raw({"a": entry(shape=(1,) * 999 + (2,))}, bytes(8)),
    "shape of a huge axis": raw({"a": entry(shape=(0, 1 << 40, 1 << 23), offsets=(0, 0))}),
    "type of nonsense": raw({"a": entry(dtype=["F32"])}, bytes(8)),
    "metadata of nonsense": raw({"__metadata__": {"a": 1}}),
    "metadata a text": raw({"__metadata__": "x"}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(WeightsError, match=r"is damaged or not a safetensors|cannot hold") as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


def test_quantised_tensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(raw({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, bytes(2)))
    with pytest.raises(WeightsError, match="a has dtype F8_E4M3, which vop does not read"):
        read_safetensors(tmp_path / "f.safetensors")


def test_file_without_tensors_is_whole(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(raw({}))
    assert read_safetensors(tmp_path / "f.safetensors").tensors == {}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    metadata = {f"key {number}": "ä\n\x01" for number in range(20)}
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.zeros((2, 2), np.float16)}
    for number in range(4):
        write_safetensors_file(tmp_path / f"{number}.safetensors", tensors, metadata)
    contents = {(tmp_path / f"{number}.safetensors").read_bytes() for number in range(4)}
    assert len(contents) == 1
    found = read_safetensors(tmp_path / "0.safetensors")
    assert found.metadata == metadata
    assert np.array_equal(found.tensors["b"], tensors["b"])
