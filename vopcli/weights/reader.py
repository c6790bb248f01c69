"""Read and validate CLIP weights in any supported format; write them as safetensors.

Architecture, sizes and dtypes follow from the tensors. The activation does not: it is determined by the file
format or by a configuration beside the file, and is never guessed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import OPENAI_PREPROCESSING, PERCEPTION_PREPROCESSING, ClipShape
from vopcli.config.choices import Activation
from vopcli.errors import FileError, UnknownActivationError, UsageError, WeightsError, format_name
from vopcli.files.safetensors import write_safetensors_file
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import packaged_file, user_path
from vopcli.weights import catalog
from vopcli.weights import tensor_names as names
from vopcli.weights.formats import Container, read_container
from vopcli.weights.model_config import (
    Declared,
    from_metadata,
    of_shape,
    read_hugging_face_config,
    read_open_clip_config,
    to_metadata,
)

CHUNK_ITEMS: Final = 1 << 20
_SUFFIXES: Final = {".pt", ".pth", ".bin", ".safetensors", ".ckpt"}
_LOG: Final = logging.getLogger(__name__)

CheckedT = TypeVar("CheckedT")

# OpenAI stores these as fp16 and all others as fp32; a state dict with exactly this mix is OpenAI's.
_OPENAI_HALF = re.compile(r"visual\.conv1\.weight|.*\.attn\..*|.*\.mlp\..*|visual\.proj|text_projection")
_OPENAI_NUMBERS = {"input_resolution", "context_length", "vocab_size"}
_EXPONENTS = {np.dtype("<f2"): ("<u2", 0x7C00), np.dtype("<f4"): ("<u4", 0x7F800000)}


@dataclass(frozen=True)
class Weights:
    """Tensors of a CLIP model by OpenAI's names, fp16 or fp32, memory-mapped if the format allows it."""

    path: Path
    name: str
    kind: str
    shape: ClipShape
    tensors: dict[str, NDArray[Any]]

    def fingerprint(self) -> str:
        """Return a hash of the model as 64 hexadecimal digits, independent of the file format.

        SHA-256 over activation and numbers of heads, mean and standard deviation of pixels unless they are
        OpenAI's, then over name, shape and little-endian float32 values of each tensor, sorted by name.
        """
        shape = self.shape
        digest = hashlib.sha256(
            f"{shape.activation.value} {shape.vision_heads} {shape.text_heads}\n".encode()
        )
        pixels, usual = shape.preprocessing, OPENAI_PREPROCESSING
        if (pixels.mean, pixels.std) != (usual.mean, usual.std):
            digest.update(f"{pixels.mean} {pixels.std}\n".encode())
        for name in sorted(self.tensors):
            array = self.tensors[name]
            digest.update(f"{name} {list(array.shape)}\n".encode())
            flat = np.ascontiguousarray(array).reshape(-1)
            for begin in range(0, flat.size, CHUNK_ITEMS):
                digest.update(flat[begin : begin + CHUNK_ITEMS].astype("<f4", copy=False).data)
        return digest.hexdigest()

    def num_parameters_by_dtype(self) -> dict[str, int]:
        """Count the parameters by dtype, such as ``{"float16": 123, "float32": 45}``."""
        counts: Counter[str] = Counter()
        for array in self.tensors.values():
            counts[array.dtype.name] += array.size
        return dict(sorted(counts.items()))


def read_weights(
    path: Path, *, activation: Activation | None = None, entry: catalog.CatalogEntry | None = None
) -> Weights:
    """Read a file or folder of CLIP weights; check that tensors are complete, of the right shape, and finite.

    Args:
        path: a TorchScript archive or state dict of PyTorch, a safetensors file, or a folder of Hugging Face
            or open_clip.
        activation: activation given by the user, for files that do not contain it.
        entry: of the catalog, for a downloaded file; for the hub, it has settings that tensors do not show.

    Raises:
        WeightsError: `path` is missing, damaged, not a CLIP model with vision transformer, or its activation
            is unknown.
        UsageError: `activation` contradicts the file.
    """
    try:
        container = read_container(path)
        return _assemble(path, container, activation, entry)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except WeightsError as error:
        if str(path) in str(error):
            raise
        raise WeightsError(f"{path}: {error}", hint=error.hint) from error


def resolve_weights(
    name_or_path: str,
    *,
    cache: Path,
    progress: Progress,
    download: bool = True,
    base_url: str = catalog.BASE_URL,
) -> Path:
    """Return the file of a name such as ``ViT-B/32`` (case does not matter; or ``ViT-B-32``) or of a path.

    A known name takes precedence over a file of the same name; ``./ViT-B-32`` is always the file.

    Args:
        name_or_path: name or path of the weights.
        cache: the folder of downloaded weights.
        progress: receives the progress of a download.
        download: whether to download a known model that is not in the cache.
        base_url: server to download from.

    Raises:
        UsageError: no model has this name.
        FileError: the file does not exist, its path is too long, or it is not accessible.
        WeightsError: the model is not supported, or the download failed.
    """
    if name_or_path.lower() == catalog.DEMO_NAME:
        path = packaged_file(f"demo/{catalog.DEMO_NAME}.safetensors")
        if not path.is_file():
            raise WeightsError(f"{path} is missing", hint="install vopcli again")
        return path
    entry = catalog.find_model(name_or_path)
    if entry is not None:
        if entry.repository:
            from vopcli.weights.hub import fetch_from_hub

            return fetch_from_hub(entry, progress, download=download)
        from vopcli.weights.download import fetch  # network modules are slow to import

        return fetch(entry, cache, progress, base_url=base_url, download=download)
    path = user_path(name_or_path)
    if not path.exists():
        if _is_path(name_or_path):
            raise FileError(format_name(name_or_path, 300), FileNotFoundError(errno.ENOENT, ""))
        catalog.refuse_unknown(name_or_path)
    return path


def _is_path(text: str) -> bool:
    """Whether a text is meant as a file or folder rather than as the name of a model."""
    path = Path(text)
    if path.suffix in _SUFFIXES or text.startswith(("/", ".", "~")):
        return True
    return path.parent != Path() and path.parent.is_dir()


def read_checked(
    name_or_path: str,
    check: Callable[[ClipShape], CheckedT],
    *,
    cache: Path,
    progress: Progress,
    activation: Activation | None = None,
    fingerprint: str = "",
) -> tuple[Weights, CheckedT]:
    """Read weights by name or path, after checking everything else that is given: a download comes last.

    Args:
        name_or_path: name or path of the weights.
        check: called with the sizes of the model, for a model known by name before its download.
        cache: the folder of downloaded weights.
        progress: receives the progress of a download.
        activation: see `open_weights`.
        fingerprint: see `open_weights`.

    Returns:
        The weights, and what `check` returned.

    Raises:
        VopError: as `resolve_weights`, `read_weights` and `check`.
    """
    entry = catalog.find_model(name_or_path)
    if entry is not None:
        checked = check(entry.shape)
    weights = open_weights(
        name_or_path, cache=cache, progress=progress, activation=activation, fingerprint=fingerprint
    )
    _LOG.debug("weights: %s, %s, from %s", weights.name, weights.kind, weights.path)
    return weights, checked if entry is not None else check(weights.shape)


def read_shape(name_or_path: str, *, cache: Path, activation: Activation | None = None) -> ClipShape:
    """Return the sizes and preprocessing of a model; those of a name are known without its file.

    Raises:
        VopError: as `open_weights`.
    """
    if entry := catalog.find_model(name_or_path):
        return entry.shape
    return open_weights(name_or_path, cache=cache, progress=SilentProgress(), activation=activation).shape


def write_safetensors(weights: Weights, path: Path) -> None:
    """Write the tensors with unchanged dtypes; activation, heads and preprocessing become metadata.

    Raises:
        FileError: the file cannot be written.
    """
    source = f"{weights.name} ({weights.kind})"
    metadata = {"format": "pt", **to_metadata(weights.shape), "source": source}
    write_safetensors_file(path, weights.tensors, metadata)


def open_weights(
    name_or_path: str,
    *,
    cache: Path,
    progress: Progress,
    activation: Activation | None = None,
    fingerprint: str = "",
    download: bool = True,
) -> Weights:
    """Read weights by name or path; see `resolve_weights` and `read_weights`.

    An activation that neither file nor user names is found by the fingerprint, or by a tensor that the file
    has in common with a file of OpenAI's in the cache.

    Args:
        name_or_path: name or path of the weights.
        cache: the folder of downloaded weights.
        progress: receives the progress of a download.
        activation: activation given by the user, for files that do not contain it.
        fingerprint: of the weights that are looked for, to find their activation; empty: unknown.
        download: whether to download a known model that is not in the cache.

    Raises:
        UnknownActivationError: the activation is not found.
        VopError: as `resolve_weights` and `read_weights`.
    """
    path = resolve_weights(name_or_path, cache=cache, progress=progress, download=download)
    entry = catalog.find_model(name_or_path)
    try:
        return read_weights(path, activation=activation, entry=entry)
    except UnknownActivationError:
        for each in Activation if fingerprint else ():
            weights = read_weights(path, activation=each)
            if weights.fingerprint() == fingerprint:
                return weights
        if not _is_of_openai(path, cache):
            raise
        return read_weights(path, activation=Activation.QUICK_GELU)


def _is_of_openai(path: Path, cache: Path) -> bool:
    """Whether the class embedding is that of an official file of OpenAI's in the cache."""
    own = _class_embedding(path)
    for entry in catalog.ENTRIES if own.size else ():  # a first verification reads the whole file
        with contextlib.suppress(WeightsError, OSError):
            file = cache / entry.file
            is_official = bool(entry.file) and catalog.is_verified(entry, file)
            if is_official and np.array_equal(_class_embedding(file), own):
                return True
    return False


def _class_embedding(path: Path) -> NDArray[np.float16]:
    """Return a small tensor that differs between models, in fp16; empty if the file does not have it."""
    return read_container(path).tensors.get("visual.class_embedding", np.empty(0)).astype("<f2")


def _assemble(
    path: Path, container: Container, activation: Activation | None, entry: catalog.CatalogEntry | None
) -> Weights:
    names.refuse_other_models(container.tensors)
    declared, kind = _declared(container, entry)
    if activation is not None and declared.activation not in {None, activation}:
        raise UsageError(
            f"the activation of {path} is {declared.activation.value}, not {activation.value}",
            hint="omit --activation",
        )
    known = declared.activation or activation
    if known is None:
        raise UnknownActivationError(
            f"the activation of {path} is unknown, and a wrong one gives wrong results without an error",
            hint="add --activation quick_gelu (OpenAI's models, open_clip's with quickgelu in their name) or "
            "gelu (others of open_clip); to keep it, use `vop weights convert FILE OUT.safetensors "
            "--activation quick_gelu`",
        )
    tensors = names.join_positions(names.drop_buffers(container.tensors))
    if names.is_hugging_face(tensors):
        tensors = names.from_hugging_face(tensors)
    elif names.is_perception(tensors):
        tensors = names.from_perception(tensors)
    shapes = {name: array.shape for name, array in tensors.items()}
    shape = ClipShape.from_tensors(
        shapes, known, declared.vision_heads, declared.text_heads, declared.preprocessing
    )
    if declared.image_resolution not in {None, shape.image_resolution}:
        raise WeightsError(
            f"the configuration has {declared.image_resolution} px, the tensors {shape.image_resolution}",
            hint="check that the configuration in this folder belongs to these weights",
        )
    for name, array in tensors.items():
        _check_numbers(name, array)
    entry = entry or catalog.find_model(path.stem)
    return Weights(path, entry.name if entry else path.stem or path.name, kind, shape, tensors)


def _declared(container: Container, entry: catalog.CatalogEntry | None) -> tuple[Declared, str]:
    """Determine activation, heads and preprocessing; return them with a description of the format."""
    if entry and entry.repository:
        return of_shape(entry.shape), f"open_clip ({container.format})"
    metadata = container.metadata
    if "activation" in metadata and "vision_heads" in metadata:
        return from_metadata(metadata), container.format
    if names.is_perception(container.tensors):
        known = Declared(Activation.GELU, preprocessing=PERCEPTION_PREPROCESSING)
        return known, f"Perception Encoder ({container.format})"
    if names.is_hugging_face(container.tensors):
        return read_hugging_face_config(container.folder), f"Hugging Face ({container.format})"
    if names.LONG_POSITIONS in container.tensors:
        return Declared(Activation.QUICK_GELU), f"Long-CLIP ({container.format})"
    if container.format == "TorchScript":
        return Declared(Activation.QUICK_GELU), "OpenAI (TorchScript)"
    declared = read_open_clip_config(container.folder)
    if declared.activation is not None:
        return declared, f"open_clip ({container.format})"
    if _is_openai_layout(container.tensors):
        return Declared(Activation.QUICK_GELU), f"OpenAI ({container.format})"
    return Declared(), container.format


def _is_openai_layout(tensors: dict[str, NDArray[Any]]) -> bool:
    if tensors.keys() >= _OPENAI_NUMBERS:
        return True
    return all(
        array.dtype == np.dtype("<f2" if _OPENAI_HALF.fullmatch(name) else "<f4")
        for name, array in tensors.items()
    )


def _check_numbers(name: str, array: NDArray[Any]) -> None:
    """Check that a tensor is fp16 or fp32 and finite; a model with NaN would rank at random.

    Raises:
        WeightsError: the tensor is not.
    """
    if array.dtype not in _EXPONENTS:
        raise WeightsError(
            f"{format_name(name)} has dtype {array.dtype}", hint="use an fp32, fp16 or bf16 file"
        )
    bits, exponent = _EXPONENTS[array.dtype]
    flat = np.ascontiguousarray(array).reshape(-1).view(bits)
    for begin in range(0, flat.size, CHUNK_ITEMS):
        if (np.bitwise_and(flat[begin : begin + CHUNK_ITEMS], exponent) == exponent).any():
            raise WeightsError(
                f"{format_name(name)} contains NaN or infinity",
                hint="the file is damaged or its training diverged: download it again",
            )
