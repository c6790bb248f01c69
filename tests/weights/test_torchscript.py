from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.weights_files import as_numpy, make_tensors, write_torchscript
from vopcli.errors import WeightsError
from vopcli.weights.reader import read_weights
from vopcli.weights.torchscript import TorchZip, read_torchscript

P = pickle


def rewrite(source: Path, target: Path, *, compression: int = zipfile.ZIP_STORED, **replaced: bytes) -> None:
    """Copy a zip, with other contents for some entries (named by their last part, dots as __)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            key = entry.filename.rpartition("/")[2].replace(".", "__")
            new.writestr(entry.filename, replaced.get(key, old.read(entry)))


def make_zip(path: Path, data_pkl: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", data_pkl)
        archive.writestr("m/constants.pkl", pickle.dumps(()))
        for name, content in entries.items():
            archive.writestr(f"m/data/{name.removeprefix('_')}", content)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    with TorchZip(path) as archive:
        return read_torchscript(archive)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_equal_what_pytorch_reads(tmp_path: Path, dtype: torch.dtype | None) -> None:
    tensors = make_tensors(openai_mix=True)
    if dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    theirs = as_numpy(write_torchscript(tmp_path / "model.pt", tensors))
    ours = read(tmp_path / "model.pt")
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(ours[name], expected, strict=True)


def test_views_of_one_storage_keep_their_strides(tmp_path: Path) -> None:
    class Views(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = torch.arange(60.0).reshape(5, 12)
            self.register_buffer("part", whole[1:4, 2:9:3])
            self.register_buffer("turned", whole.T)
            self.register_buffer("whole", whole)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(Views()), str(tmp_path / "v.pt"))
    ours = read(tmp_path / "v.pt")
    for name, expected in Views().state_dict().items():
        np.testing.assert_array_equal(ours[name], expected.numpy(), strict=True)


def test_numbers_stay_on_disk_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "model.pt", make_tensors())
    before = (tmp_path / "model.pt").read_bytes()
    array = read(tmp_path / "model.pt")["visual.proj"]
    base = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    array[:] = 0
    assert (tmp_path / "model.pt").read_bytes() == before


def test_compressed_archive_reads_the_same(tmp_path: Path) -> None:
    theirs = as_numpy(write_torchscript(tmp_path / "model.pt", make_tensors(openai_mix=True)))
    rewrite(tmp_path / "model.pt", tmp_path / "small.pt", compression=zipfile.ZIP_DEFLATED)
    ours = read(tmp_path / "small.pt")
    for name, expected in theirs.items():
        np.testing.assert_array_equal(ours[name], expected, strict=True)


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["torchscript", "zip", "legacy", "bare"])
def test_pickle_that_runs_a_command_is_refused(tmp_path: Path, kind: str) -> None:
    mark, path = tmp_path / "ran", tmp_path / "evil.pt"
    attack = _Attack(f"touch {mark}")
    if kind == "torchscript":
        make_zip(path, pickle.dumps(attack))
    elif kind == "bare":
        path.write_bytes(pickle.dumps(attack))
    else:
        torch.save({"visual.proj": attack}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"(posix|os)\.system|cannot be read as PyTorch weights"):
        read_weights(path)
    assert not mark.exists()
    with path.open("rb") as file:  # the attack is a real one
        if kind == "bare":
            pickle.load(file)  # noqa: S301
            assert mark.exists()


def _global(name: str) -> bytes:
    return P.GLOBAL + name.replace(" ", "\n").encode() + b"\n"


def _text(text: str) -> bytes:
    return P.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def _storage(key: str = "0", num_items: int = 4) -> bytes:
    number = P.LONG1 + bytes([8]) + num_items.to_bytes(8, "little", signed=True)
    return (
        P.MARK
        + _text("storage")
        + _global("torch FloatStorage")
        + _text(key)
        + _text("cpu")
        + number
        + P.TUPLE
        + P.BINPERSID
    )


def _ints(*numbers: int) -> bytes:
    return (
        P.MARK
        + b"".join(P.LONG1 + bytes([9]) + n.to_bytes(9, "little", signed=True) for n in numbers)
        + P.TUPLE
    )


def _tensor(
    size: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, storage: bytes = b""
) -> bytes:
    start = P.LONG1 + bytes([9]) + offset.to_bytes(9, "little", signed=True)
    arguments = (storage or _storage()) + start + _ints(*size) + _ints(*stride) + P.NEWFALSE
    return _global("torch._utils _rebuild_tensor_v2") + P.MARK + arguments + P.TUPLE + P.REDUCE


def _module(state: bytes) -> bytes:
    return _global("__torch__.m M") + P.EMPTY_TUPLE + P.NEWOBJ + state + P.BUILD


def _program(state: bytes) -> bytes:
    return P.PROTO + b"\x02" + _module(state) + P.STOP


def _named(value: bytes) -> bytes:
    return P.EMPTY_DICT + _text("a") + value + P.SETITEM


FOUR = np.arange(4, dtype="<f4").tobytes()
HOSTILE = {
    "stride of zero, a huge tensor of nothing": _tensor((10**9,), (0,)),
    "larger than its storage": _tensor((5,), (1,)),
    "beyond its end": _tensor((2,), (1,), offset=3),
    "beyond its end by its stride": _tensor((2,), (3,), offset=1),
    "beyond its end by both strides": _tensor((2, 2), (3, 1), offset=0),
    "negative size": _tensor((-1,), (1,)),
    "negative stride": _tensor((2,), (-1,)),
    "negative offset": _tensor((1,), (1,), offset=-1),
    "absurd size": _tensor((1 << 62, 1 << 62, 0), (1, 1, 1)),
    "more sizes than strides": _tensor((2, 2), (1,)),
    "very many axes": _tensor((1,) * 60, (1,) * 60),
    "storage of another length": _tensor((4,), (1,), storage=_storage(num_items=8)),
    "storage of negative length": _tensor((4,), (1,), storage=_storage(num_items=-4)),
    "storage that is missing": _tensor((4,), (1,), storage=_storage(key="7")),
    "storage outside": _tensor((4,), (1,), storage=_storage(key="../data.pkl")),
    "storage that is none": _tensor((4,), (1,), storage=P.NONE),
    "pointer to nonsense": P.EMPTY_TUPLE + P.BINPERSID,
    "size of text": _global("torch._utils _rebuild_tensor_v2")
    + P.MARK
    + _storage()
    + _text("a") * 3
    + P.TUPLE
    + P.REDUCE,
    "other global": _global("builtins eval"),
    "other global in torch": _global("torch load"),
    "other global in torch._utils": _global("torch._utils _rebuild_parameter"),
    "attribute of a stub": _global("__torch__.m M.__setstate__.__globals__") + P.NONE,
    "change to the rebuilder": _global("torch._utils _rebuild_tensor_v2")
    + P.NONE
    + P.EMPTY_DICT
    + _text("__call__")
    + P.NONE
    + P.SETITEM
    + P.TUPLE2
    + P.BUILD,
    "change to the stub class": _global("__torch__.m M")
    + P.NONE
    + P.EMPTY_DICT
    + _text("__setstate__")
    + P.NONE
    + P.SETITEM
    + P.TUPLE2
    + P.BUILD,
    "change to OrderedDict": _global("collections OrderedDict")
    + P.NONE
    + P.EMPTY_DICT
    + _text("get")
    + P.NONE
    + P.SETITEM
    + P.TUPLE2
    + P.BUILD,
    "call of a module": _global("__torch__.m M") + _text("a") + P.TUPLE1 + P.REDUCE,
    "unhashable key": P.EMPTY_DICT + P.EMPTY_LIST + P.NONE + P.SETITEM,
    "extension registry": P.EXT1 + b"\x01",
    "out of stack": P.POP * 20,
    "unknown opcode": b"\xff",
    "text longer than the file": P.BINUNICODE8 + struct.pack("<Q", 1 << 40),
    "bytes longer than memory": P.BYTEARRAY8 + struct.pack("<Q", 1 << 62),
    "frame longer than the file": P.FRAME + struct.pack("<Q", 1 << 40),
    "number of a million digits": P.LONG + b"1" * 1_000_000 + b"L\n",
    "memo that is not there": P.LONG_BINGET + struct.pack("<I", 77),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path: Path, what: str) -> None:
    path = make_zip(tmp_path / "m.pt", _program(_named(HOSTILE[what])), _0=FOUR)
    with pytest.raises(WeightsError, match=r"m\.pt cannot be read as PyTorch weights: "):
        read(path)


def test_hand_made_pickle_is_fine_without_the_hostile_part(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.pt", _program(_named(_tensor((2, 2), (1, 2)))), _0=FOUR)
    np.testing.assert_array_equal(read(path)["a"], np.float32([[0, 2], [1, 3]]))


def test_memo_with_a_huge_number_takes_no_memory(tmp_path: Path) -> None:
    state = _named(_tensor((4,), (1,)) + P.LONG_BINPUT + struct.pack("<I", 0xFFFF_FFFF))
    assert read(make_zip(tmp_path / "m.pt", _program(state), _0=FOUR))["a"].size == 4


def test_module_inside_itself_and_deep_nesting_end(tmp_path: Path) -> None:
    itself = P.PROTO + b"\x02" + _global("__torch__.m M") + P.EMPTY_TUPLE + P.NEWOBJ + P.BINPUT + b"\x00"
    itself += _named(P.BINGET + b"\x00") + P.BUILD + P.STOP
    with pytest.raises(WeightsError, match="nested too deeply"):
        read(make_zip(tmp_path / "m.pt", itself))
    lists = P.EMPTY_LIST * 200_000 + P.APPEND * 199_999
    assert read(make_zip(tmp_path / "l.pt", _program(_named(lists)))) == {}


def test_root_that_is_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it does not contain a module"):
        read(make_zip(tmp_path / "m.pt", pickle.dumps([1])))


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02.")
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/data/0", bytes(90_000_000))
    assert (tmp_path / "b.pt").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=r"would unpack to 900000\d\d bytes from \d+: refused"):
        read(tmp_path / "b.pt")


def test_absurd_pickle_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.pt", bytes((1 << 26) + 1))
    with pytest.raises(WeightsError, match="more than any model needs"):
        read(path)


def test_entry_that_lies_about_its_place_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.pt", _program(_named(_tensor((4,), (1,)))), _0=FOUR)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("m/data/0").header_offset
    content[offset : offset + 4] = b"XXXX"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="data/0 is not at its position in the archive"):
        read(path)


def test_zip_of_something_else_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("ViT-B-32.pt", "x")
    with pytest.raises(WeightsError, match=r"is a zip without PyTorch's data\.pkl"):
        read_weights(tmp_path / "z.zip")


def test_cut_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    write_torchscript(tmp_path / "m.pt", make_tensors())
    buffer.write((tmp_path / "m.pt").read_bytes()[:-1000])
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match="cannot be read as PyTorch weights: File is not a zip file"):
        read_weights(tmp_path / "m.pt")
