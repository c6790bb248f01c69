"""Adapter files: safetensors with the tuned tensors alone, and what is needed to use them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.load import build_config, plain
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError, FileError, WeightsError
from vopcli.files.safetensors import read_safetensors, write_safetensors_file

ADAPTER_NAME: Final = "adapter.safetensors"
FORMAT: Final = "vop-adapter"
VERSION: Final = "1"
_HINT: Final = "is it the adapter file of a run, and was it copied whole?"


@dataclass(frozen=True)
class Adapter:
    """What a variant has trained.

    Attributes:
        tuning: the variant and its sizes.
        num_frames: frames a video must have.
        fingerprint: of the backbone it was trained on.
        recipe: how the frames it was trained on, or the middle candidates of these, were sampled and resized.
        tensors: by the names of the model's parameters.
        max_tokens: longest caption it was trained on, longer ones were cut; None: not known.
        source: what messages call it: the file it was read from.
    """

    tuning: TuningConfig
    num_frames: int
    fingerprint: str
    recipe: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    max_tokens: int | None = None
    source: str = "the adapter"

    @property
    def sha256(self) -> str:
        """A hash of what it does: the tuning, the number of frames and every tensor."""
        digest = hashlib.sha256(json.dumps([plain(self.tuning), self.num_frames], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()


def check_backbone(adapter: Adapter, fingerprint: str, weights: str) -> None:
    """Refuse an adapter of another backbone than ``weights``, whose fingerprint is given.

    Raises:
        WeightsError: it was.
    """
    if adapter.fingerprint != fingerprint:
        raise WeightsError(
            f"{adapter.source} was trained on another backbone than {weights}",
            hint="name the weights it was trained on with --weights",
        )


def write_adapter(path: Path, adapter: Adapter) -> None:
    """Write ``adapter`` to ``path``: the old file or the whole new one."""
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "tuning": json.dumps(plain(adapter.tuning)),
        "num_frames": str(adapter.num_frames),
        "backbone": adapter.fingerprint,
        "recipe": json.dumps(adapter.recipe),
        "max_tokens": json.dumps(adapter.max_tokens),
        "sha256": adapter.sha256,
    }
    write_safetensors_file(path, adapter.tensors, metadata)


def is_adapter(path: Path) -> bool:
    """Whether ``path`` is an adapter file, or a run folder that holds one."""
    try:
        return read_safetensors(_file_of(path)).metadata.get("format") == FORMAT
    except (OSError, WeightsError):
        return False


def _file_of(path: Path) -> Path:
    return path / ADAPTER_NAME if path.is_dir() else path


def read_adapter(path: Path) -> Adapter:
    """Read an adapter file, or that of a run folder.

    Raises:
        FileError: the file cannot be read.
        WeightsError: it is no adapter file, of another version, or damaged.
    """
    file = _file_of(path)
    try:
        content = read_safetensors(file)
    except OSError as error:
        raise FileError(file, error) from error
    metadata = content.metadata
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{file} is no adapter file", hint=_HINT)
    if metadata.get("version") != VERSION:
        version = metadata.get("version")
        raise WeightsError(f"{file} has version {version}, this program reads {VERSION}", hint="update vop")
    try:
        tuning = build_config(TuningConfig, json.loads(metadata["tuning"]), source=str(file))
        recipe = dict(json.loads(metadata["recipe"]))
        tensors = {name: np.array(tensor) for name, tensor in content.tensors.items()}
        max_tokens = json.loads(metadata.get("max_tokens", "null"))
        adapter = Adapter(
            tuning,
            int(metadata["num_frames"]),
            metadata["backbone"],
            recipe,
            tensors,
            None if max_tokens is None else int(max_tokens),
            str(file),
        )
        if metadata.get("sha256", adapter.sha256) != adapter.sha256:
            raise WeightsError(f"{file} is damaged: its checksum does not fit what it holds", hint=_HINT)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise WeightsError(f"{file} is damaged: it holds numbers that are not finite", hint=_HINT)
    except (KeyError, ValueError, TypeError, RecursionError, ConfigError) as error:
        raise WeightsError(f"{file} is damaged: {error}", hint=_HINT) from error
    return adapter
