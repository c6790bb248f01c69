"""Adapter files: safetensors files with the tuned tensors and the metadata to use them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.load import build_config, to_dict
from vopcli.config.schema import TuningConfig
from vopcli.errors import ConfigError, FileError, WeightsError, format_name
from vopcli.files.safetensors import read_safetensors, write_safetensors_file

ADAPTER_NAME: Final = "adapter.safetensors"
ADAPTER_FORMAT: Final = "vop-adapter"
ADAPTER_VERSION: Final = "1"
_HINT: Final = "check that it is the adapter file of a run and was copied completely"


@dataclass(frozen=True)
class Adapter:
    """Trained parameters of a variant, with the metadata to use them.

    Attributes:
        tuning: the variant and its sizes.
        num_frames: number of frames of a video.
        fingerprint: fingerprint of the backbone it was trained on.
        recipe: sampling and resizing of its training frames, or of the middle ones of their candidates.
        tensors: tensors by the names of the model's parameters.
        max_tokens: length that its training captions were truncated to; None: unknown.
        source: its name in messages, the file it was read from.
        assumption: a sentence on an assumption about the file; empty for files of vop.
    """

    tuning: TuningConfig
    num_frames: int
    fingerprint: str
    recipe: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    max_tokens: int | None = None
    source: str = "the adapter"
    assumption: str = ""

    @property
    def sha256(self) -> str:
        """A hash of its effect: of the tuning, the number of frames and every tensor."""
        digest = hashlib.sha256(json.dumps([to_dict(self.tuning), self.num_frames], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()


def check_backbone(adapter: Adapter, fingerprint: str, weights: str) -> None:
    """Check that an adapter was trained on the backbone ``weights`` with this ``fingerprint``.

    Raises:
        WeightsError: it was trained on another backbone.
    """
    if adapter.fingerprint != fingerprint:
        raise WeightsError(
            f"{adapter.source} was trained on a backbone other than {weights}",
            hint="pass the weights it was trained on with --weights",
        )


def write_adapter(path: Path, adapter: Adapter) -> None:
    """Write ``adapter`` to ``path`` atomically."""
    metadata = {
        "format": ADAPTER_FORMAT,
        "version": ADAPTER_VERSION,
        "tuning": json.dumps(to_dict(adapter.tuning)),
        "num_frames": str(adapter.num_frames),
        "backbone": adapter.fingerprint,
        "recipe": json.dumps(adapter.recipe),
        "max_tokens": json.dumps(adapter.max_tokens),
        "sha256": adapter.sha256,
    }
    write_safetensors_file(path, adapter.tensors, {**metadata, "metadata_sha256": _hash_metadata(metadata)})


def _hash_metadata(metadata: Mapping[str, str]) -> str:
    """Return a hash of all metadata but the hash itself."""
    rest = sorted((name, value) for name, value in metadata.items() if name != "metadata_sha256")
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def is_adapter(path: Path) -> bool:
    """Whether ``path`` is an adapter file or a run folder with one."""
    try:
        return read_safetensors(_file_of(path)).metadata.get("format") == ADAPTER_FORMAT
    except (OSError, WeightsError):
        return False


def _file_of(path: Path) -> Path:
    return path / ADAPTER_NAME if path.is_dir() else path


def read_adapter(path: Path) -> Adapter:
    """Read an adapter file, or the one of a run folder.

    Raises:
        FileError: the file cannot be read.
        WeightsError: the file is not an adapter file, has another version, or is damaged.
    """
    file = _file_of(path)
    try:
        content = read_safetensors(file)
    except OSError as error:
        raise FileError(file, error) from error
    metadata = content.metadata
    if metadata.get("format") != ADAPTER_FORMAT:
        raise WeightsError(f"{file} is not an adapter file", hint=_HINT)
    if metadata.get("version") != ADAPTER_VERSION:
        version = metadata.get("version")
        problem = f"{file} has version {format_name(str(version))}, this program reads {ADAPTER_VERSION}"
        raise WeightsError(problem, hint="update vop")
    if metadata.get("metadata_sha256", expected := _hash_metadata(metadata)) != expected:
        raise WeightsError(f"{file} is damaged: its metadata do not match their checksum", hint=_HINT)
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
            raise WeightsError(f"{file} is damaged: its content does not match its checksum", hint=_HINT)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise WeightsError(f"{file} is damaged: it contains NaN or infinite values", hint=_HINT)
    except (KeyError, ValueError, TypeError, RecursionError, ConfigError) as error:
        raise WeightsError(f"{file} is damaged: {error}", hint=_HINT) from error
    return adapter
