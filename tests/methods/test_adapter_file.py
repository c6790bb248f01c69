"""Adapter files: what is written comes back, and every kind of damage is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vopcli.config.choices import Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import FileError, WeightsError
from vopcli.files.safetensors import read_safetensors, write_safetensors_file
from vopcli.methods.adapter_file import Adapter, check_backbone, is_adapter, read_adapter, write_adapter

ADAPTER = Adapter(
    TuningConfig(variant=Variant.P, sides=Sides.TEXT, adapter_scale=0.25),
    num_frames=5,
    fingerprint="f" * 64,
    recipe={"sampling": "uniform:5", "size": 16},
    tensors={"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(2, np.float32)},
    max_tokens=20,
)


@pytest.mark.parametrize("max_tokens", [20, None])
def test_all_of_an_adapter_comes_back(tmp_path: Path, max_tokens: int | None) -> None:
    path = tmp_path / "adapter.safetensors"
    adapter = dataclasses.replace(ADAPTER, max_tokens=max_tokens)
    write_adapter(path, adapter)
    for source in (path, tmp_path):
        found = read_adapter(source)
        assert found.source == str(path)
        assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
            name: tensor.tolist() for name, tensor in adapter.tensors.items()
        }
        assert dataclasses.replace(found, tensors={}, source="") == dataclasses.replace(
            adapter, tensors={}, source=""
        )
        assert is_adapter(source)


def test_the_hash_is_of_what_the_adapter_does() -> None:
    other = dataclasses.replace(ADAPTER, fingerprint="0", recipe={}, max_tokens=None, source="x")
    assert other.sha256 == ADAPTER.sha256
    tensors = {**ADAPTER.tensors, "a": np.array([1, 2], np.float32)}
    for changes in ({"num_frames": 6}, {"tensors": tensors}, {"tuning": TuningConfig(variant=Variant.P)}):
        assert dataclasses.replace(ADAPTER, **changes).sha256 != ADAPTER.sha256


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "other"}, "is not an adapter file"),
        ({"version": "2"}, "has version 2, this program reads 1"),
        ({"tuning": "{"}, "is damaged"),
        ({"tuning": '{"variant": "none"}'}, "is damaged"),
        ({"num_frames": "many"}, "is damaged"),
        ({"recipe": "3"}, "is damaged"),
        ({"sha256": "0" * 64}, "is damaged: its content does not match its checksum"),
        ({"max_tokens": "21"}, "is damaged: its metadata do not match their checksum"),
    ],
)
def test_other_and_damaged_files_are_refused(tmp_path: Path, changes: dict[str, str], problem: str) -> None:
    path = tmp_path / "a.safetensors"
    write_adapter(path, ADAPTER)
    metadata = read_safetensors(path).metadata | changes
    if "max_tokens" not in changes:
        del metadata["metadata_sha256"]  # files of earlier versions have none
    write_safetensors_file(path, ADAPTER.tensors, metadata)
    with pytest.raises(WeightsError, match=rf"a\.safetensors {problem}"):
        read_adapter(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", dataclasses.replace(ADAPTER, tensors={"a": np.array([np.nan], np.float32)}))
    with pytest.raises(WeightsError, match="contains NaN or infinite values"):
        read_adapter(tmp_path / "a")


def test_files_that_are_no_adapters(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    assert not any(map(is_adapter, (tmp_path, tmp_path / "text", tmp_path / "none")))
    with pytest.raises(FileError, match="none"):
        read_adapter(tmp_path / "none")


def test_an_adapter_fits_its_own_backbone_alone() -> None:
    check_backbone(ADAPTER, "f" * 64, "tiny")
    with pytest.raises(WeightsError, match="the adapter was trained on a backbone other than tiny"):
        check_backbone(ADAPTER, "0" * 64, "tiny")
