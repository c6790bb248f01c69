"""List, download, convert and describe CLIP weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vopcli.config.choices import Activation
from vopcli.errors import UsageError, WeightsError
from vopcli.files.atomic import hash_file, refuse_existing
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import packaged_file
from vopcli.weights.catalog import (
    BASE_URL,
    DEMO_NAME,
    ENTRIES,
    CatalogEntry,
    find_model,
    is_verified,
    refuse_unknown,
)
from vopcli.weights.reader import Weights, open_weights, read_weights, resolve_weights, write_safetensors


@dataclass(frozen=True)
class KnownModel:
    """A model known by name; ``num_bytes`` is the size of its file, approximate before the download."""

    name: str
    file: str
    licence: str
    num_bytes: int
    sha256: str
    state: str


def list_models(cache: Path) -> list[KnownModel]:
    """Return the models known by name, with their state in ``cache``: ready, partial, missing or wrong."""
    models = []
    for entry in ENTRIES:
        if entry.repository:
            models.append(_on_hub(entry))
            continue
        path = cache / entry.file
        size = path.stat().st_size if path.is_file() else entry.num_bytes
        try:
            state = "ready" if is_verified(entry, path) else "missing"
        except (WeightsError, OSError):
            state = "wrong"
        if state == "missing" and path.with_name(f"{entry.file}.part").exists():
            state = "partial"
        models.append(KnownModel(entry.name, entry.file, entry.licence, size, entry.sha256, state))
    demo = packaged_file(f"demo/{DEMO_NAME}.safetensors")
    if demo.is_file():
        models.append(
            KnownModel(DEMO_NAME, demo.name, "MIT", demo.stat().st_size, hash_file(demo).hex(), "built in")
        )
    return models


def _on_hub(entry: CatalogEntry) -> KnownModel:
    from vopcli.weights.hub import cached_file

    path = cached_file(entry)
    size = path.stat().st_size if path else 4 * entry.shape.num_parameters  # most are fp32
    state = "ready" if path else "missing"
    return KnownModel(entry.name, entry.repository, entry.licence, size, entry.sha256, state)


def get_model(name: str, *, cache: Path, progress: Progress, base_url: str = BASE_URL) -> Path:
    """Return the file of a model, downloading it if it is missing.

    Raises:
        UsageError: `name` is not a known model.
        WeightsError: the model is not supported, or its download failed.
    """
    if name.lower() != DEMO_NAME and find_model(name) is None:
        refuse_unknown(name)
    return resolve_weights(name, cache=cache, progress=progress, base_url=base_url)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check that converted weights can be written to ``target``.

    Raises:
        UsageError: `target` does not end in .safetensors, or its folder does not exist.
        FileError: `target` exists and is not to be overwritten.
    """
    if target.suffix != ".safetensors":
        raise UsageError(
            f"{target} does not end in .safetensors", hint="name a file that ends in .safetensors"
        )
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(f"{target} cannot be written", hint="name a file in a folder that exists")
    refuse_existing(target, overwrite=overwrite)


def convert_weights(
    name_or_path: str,
    target: Path,
    *,
    cache: Path,
    progress: Progress,
    activation: Activation | None = None,
) -> dict[str, Any]:
    """Convert weights to safetensors with OpenAI's names, and describe the result.

    Raises:
        WeightsError: the weights cannot be read.
        FileError: `target` cannot be written.
    """
    weights = open_weights(name_or_path, cache=cache, progress=progress, activation=activation)
    write_safetensors(weights, target)
    return describe_weights(read_weights(target))


def show_weights(name_or_path: str, *, cache: Path, activation: Activation | None = None) -> dict[str, Any]:
    """Describe weights by name or path; nothing is downloaded.

    Raises:
        WeightsError: the weights are missing, damaged or not a CLIP model.
    """
    weights = open_weights(
        name_or_path, cache=cache, progress=SilentProgress(), activation=activation, download=False
    )
    return describe_weights(weights)


def describe_weights(weights: Weights) -> dict[str, Any]:
    """Describe a model as a dictionary for JSON: path, kind, sizes, preprocessing and dtypes."""
    shape, preprocessing = asdict(weights.shape), weights.shape.preprocessing
    del shape["preprocessing"]
    shape["activation"] = weights.shape.activation.value
    return {
        "path": str(weights.path),
        "name": weights.name,
        "kind": weights.kind,
        **shape,
        "pixel_mean": list(preprocessing.mean),
        "pixel_std": list(preprocessing.std),
        "fit": preprocessing.fit.value,
        "resize": preprocessing.resize.value,
        "num_parameters": weights.shape.num_parameters,
        "dtypes": weights.num_parameters_by_dtype(),
        "fingerprint": weights.fingerprint(),
    }
