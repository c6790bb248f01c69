"""State dicts of torch.save: tensors only."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch

from tests.support.weights_files import make_tensors
from vopcli.errors import WeightsError
from vopcli.weights.reader import read_weights
from vopcli.weights.state_dict import read_pickled

MIX = make_tensors(openai_mix=True)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3, "b": "x"}, {1: torch.zeros(1)}, torch.zeros(3)])
def test_pickles_of_something_else_are_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(
        WeightsError,
        match=r"does not contain a dictionary of tensors|contains 2 entries that are not tensors: a, b",
    ):
        read_weights(tmp_path / "m.pt")


@pytest.mark.parametrize(
    "tensor", [torch.zeros(2, 3).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(1).expand(9)]
)
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({**MIX, "visual.proj": tensor}, tmp_path / "m.pt")
    with pytest.raises(
        WeightsError, match=r"visual\.proj is (not a dense CPU tensor|larger than)|it is damaged|meta"
    ):
        read_weights(tmp_path / "m.pt")


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_come_back_by_name_and_bfloat16_is_widened(tmp_path: Path, is_zip: bool) -> None:
    half = torch.arange(6).reshape(2, 3).bfloat16()
    state = {"module.a": half, "module.b": half.float().T}
    torch.save({"state_dict": state}, tmp_path / "m.pt", _use_new_zipfile_serialization=is_zip)
    found = read_pickled(tmp_path / "m.pt", is_zip=is_zip)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert {array.dtype.name for array in found.values()} == {"float32"}


def test_tar_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80")
    with tarfile.open(tmp_path / "m.pt", "w") as archive:
        archive.add(tmp_path / "a", "a")
    with pytest.raises(WeightsError, match="is a tar archive, not weights"):
        read_pickled(tmp_path / "m.pt", is_zip=False)
