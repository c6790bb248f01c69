"""The text tower that a search runs: float32 tensors in a file of the cache, made once, then mapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import NumpyTextTower, text_tensors
from vopcli.config.choices import Activation
from vopcli.errors import WeightsError
from vopcli.files.safetensors import read_safetensors, write_safetensors_file
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.weights.reader import Weights

_SHAPE = "shape"


def text_tower_path(cache: Path, fingerprint: str) -> Path:
    """Return where the text tower of a backbone is kept."""
    return cache / "text" / f"{fingerprint}.safetensors"


def keep_text_tower(weights: Weights, fingerprint: str, cache: Path, progress: Progress) -> None:
    """Write the text tower to the cache unless a sound one is there; failing to is no error."""
    path = text_tower_path(cache, fingerprint)
    if _read(path) is not None:
        return
    tensors = {name: np.asarray(weights.tensors[name], "<f4") for name in text_tensors(weights.shape)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors_file(path, tensors, {_SHAPE: json.dumps(asdict(weights.shape))})
    except OSError as error:
        progress.warn(f"{path} cannot be written ({error.strerror}): each search will read the whole weights")


def load_text_tower(
    fingerprint: str, *, weights: str | None, fallbacks: Sequence[str], cache: Path, progress: Progress
) -> NumpyTextTower:
    """Load the text tower of a backbone, from the cache or else from its weights.

    Args:
        fingerprint: of the backbone that an index was made with.
        weights: name or path of the weights when the user names them: they are read and checked.
        fallbacks: names or paths to try when they are not named and the cache has nothing.
        cache: folder of derived files.
        progress: told what takes long.

    Raises:
        WeightsError: the weights are missing or damaged, or not those the index was made with.
    """
    if weights is not None:
        return _load(weights, fingerprint, cache, progress)
    tower = _read(text_tower_path(cache, fingerprint))
    if tower is not None:
        return tower
    problems = []
    for fallback in fallbacks:
        try:
            return _load(fallback, fingerprint, cache, progress)
        except WeightsError as error:
            problems.append(str(error))
    raise WeightsError(
        f"the model that the index was made with is not there: {'; '.join(problems)}",
        hint="name its weights with --weights",
    )


def _load(weights: str, fingerprint: str, cache: Path, progress: Progress) -> NumpyTextTower:
    from vopcli.weights.reader import read_weights, resolve_weights

    found = read_weights(resolve_weights(weights, cache=cache, progress=progress))
    if found.fingerprint() != fingerprint:
        raise WeightsError(
            f"{weights} is not the model that the index was made with",
            hint="use the model it was made with, or make another index with `vop encode`",
        )
    keep_text_tower(found, fingerprint, cache, progress)
    tensors = {name: np.asarray(found.tensors[name], np.float32) for name in text_tensors(found.shape)}
    return NumpyTextTower(tensors, found.shape)


def _read(path: Path) -> NumpyTextTower | None:
    """Map a kept text tower; None when it is missing or damaged, for then it is made anew."""
    try:
        file = read_safetensors(path)
        values = json.loads(file.metadata[_SHAPE])
        shape = ClipShape(**{**values, "activation": Activation(values["activation"])})
        expected = shape.tensor_shapes()
        if any(
            file.tensors[name].shape != expected[name] or file.tensors[name].dtype != np.float32
            for name in text_tensors(shape)
        ):
            return None
        return NumpyTextTower(file.tensors, shape)
    except (OSError, WeightsError, KeyError, TypeError, ValueError):
        return None
