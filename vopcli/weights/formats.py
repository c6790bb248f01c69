"""Recognise a weights file by its first bytes, and read the tensors of any model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vopcli.errors import WeightsError, format_value
from vopcli.files.safetensors import read_safetensors
from vopcli.weights.model_config import read_json_object
from vopcli.weights.state_dict import read_pickled
from vopcli.weights.torchscript import TorchZip, read_torchscript

FOLDER_FILES = (  # in order of preference: safetensors before pickles
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
SHARD_INDEX = ".index.json"
MAX_SHARDS = 1000


@dataclass(frozen=True)
class Container:
    """The tensors of a file, by their names in the file."""

    tensors: dict[str, NDArray[Any]]
    format: str
    folder: Path
    metadata: dict[str, str] = field(default_factory=dict)


def read_container(path: Path) -> Container:
    """Read a file, a folder, or the index file of a model in several shards.

    Raises:
        WeightsError: `path` is missing, damaged, or not a weights file.
        OSError: `path` cannot be read.
    """
    if path.is_dir():
        found = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
        if found is None:
            raise WeightsError(
                f"{path} contains no weights file",
                hint=f"expected one of {', '.join(FOLDER_FILES)}; or give the path of the file",
            )
        path = found
    if not path.exists():
        raise WeightsError(f"{path} does not exist", hint="see `vop weights list` for models known by name")
    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    return _read_shards(path) if path.name.endswith(SHARD_INDEX) else _read_file(path)


def _read_shards(path: Path) -> Container:
    files = (read_json_object(path) or {}).get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise WeightsError(f"{path} lists no shards", hint="download it again")
    shards = sorted(set(files.values()))
    if len(shards) > MAX_SHARDS or any(Path(shard).name != shard for shard in shards):
        raise WeightsError(f"{path} lists shards outside its folder, or more than {MAX_SHARDS}")
    tensors: dict[str, NDArray[Any]] = {}
    container = None
    for shard in shards:
        if not (path.parent / shard).is_file():
            raise WeightsError(f"{path.parent / shard} is missing", hint="download all shards of the model")
        container = _read_file(path.parent / shard)
        tensors |= container.tensors
    return Container(tensors, container.format if container else "", path.parent)


def _read_file(path: Path) -> Container:
    with path.open("rb") as file:
        head = file.read(16)
    if head[8:9] == b"{":
        safetensors = read_safetensors(path)
        return Container(safetensors.tensors, "safetensors", path.parent, safetensors.metadata)
    if head.startswith(b"PK\x03\x04"):
        with TorchZip(path) as archive:
            if archive.is_torchscript:
                return Container(read_torchscript(archive), "TorchScript", path.parent)
        return Container(read_pickled(path, is_zip=True), "state dict", path.parent)
    if head.startswith(b"\x80"):
        return Container(read_pickled(path, is_zip=False), "state dict", path.parent)
    raise WeightsError(
        f"{path} is not a weights file: it begins with {format_value(head)}" if head else f"{path} is empty",
        hint="vop reads PyTorch's .pt and .bin, safetensors, and folders of Hugging Face and open_clip",
    )
