"""The text tower of an index's model in NumPy, with its tensors cached as a memory-mapped float32 file.

Axes: Q texts, E joint width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import NumpyTextTower, text_tensors
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Activation
from vopcli.errors import ConfigError, DataError, UsageError, WeightsError
from vopcli.files.safetensors import read_safetensors, write_safetensors_file
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder

if TYPE_CHECKING:
    from vopcli.weights.reader import Weights

_SHAPE: Final = "shape"
_BATCH: Final = 64


class TextEncoder:
    """The text tower of an index, with its adapter; loaded for the first text.

    Args:
        index: the index whose model is wanted.
        weights: name or path of the weights, which are verified; None to find them.
        fallbacks: more names or paths to try.
        cache: folder of derived weights; default the user's cache.
        progress: gets warnings and the progress of a download.
    """

    def __init__(
        self,
        index: VideoIndex,
        *,
        weights: str | None = None,
        fallbacks: Sequence[str] = (),
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._index = index
        self._weights = weights
        self._fallbacks = fallbacks
        self._cache = cache or cache_folder()
        self._progress: Progress = progress or SilentProgress()
        self._loaded: tuple[Tokenizer, NumpyTextTower] | None = None
        self._has_warned = False

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts to (Q, E) float32, L2-normalised; long texts are truncated, with one warning.

        Raises:
            WeightsError: the text tower of the index's model is missing.
            DataError: the text tower is damaged, or does not fit the index.
        """
        tokenizer, tower = self._loaded = self._loaded or self._load()
        out = np.empty((len(texts), self._index.meta.embed_dim), np.float32)
        for begin in range(0, len(texts), _BATCH):
            ids, num_cut = tokenizer.tokenize(texts[begin : begin + _BATCH], max_tokens=tower.max_tokens)
            if num_cut and not self._has_warned:
                self._has_warned = True
                self._progress.warn(f"a query is longer than {tower.max_tokens} tokens and is truncated")
            out[begin : begin + _BATCH] = tower.encode(ids)
        if not np.isfinite(out).all():
            raise DataError(
                "the embedding of the query is NaN or infinite: the text tower is damaged",
                hint=f"remove the folder {self._cache / 'text'}, which is created again",
            )
        return out

    def _load(self) -> tuple[Tokenizer, NumpyTextTower]:
        meta = self._index.meta
        backbone = load_text_tower(
            meta.fingerprint,
            weights=self._weights,
            fallbacks=[*self._fallbacks, meta.weights],
            cache=self._cache,
            progress=self._progress,
        )
        return Tokenizer(), self._tuned(backbone)

    def _tuned(self, backbone: NumpyTextTower) -> NumpyTextTower:
        """Apply the index's adapter to the backbone's text tower.

        Raises:
            DataError: the index's tensors do not fit the backbone.
        """
        if not self._index.meta.adapter:
            return backbone
        from vopcli.search.text_tuning import text_tuning

        try:
            return backbone.tuned(self._index.text_tensors, text_tuning(self._index.meta, backbone.shape))
        except (ValueError, KeyError, ConfigError) as error:
            raise DataError(
                f"{self._index.path} is damaged: its adapter does not match its model: {error}",
                hint="rebuild the index with `vop encode --overwrite`",
            ) from error


def text_tower_path(cache: Path, fingerprint: str) -> Path:
    """Return the path of a backbone's text tower in the cache."""
    return cache / "text" / f"{fingerprint}.safetensors"


def keep_text_tower(weights: Weights, fingerprint: str, cache: Path, progress: Progress) -> None:
    """Write the text tower to the cache unless it is valid; warn if it cannot be written."""
    path = text_tower_path(cache, fingerprint)
    if _read(path) is not None:
        return
    tensors = {name: np.asarray(weights.tensors[name], "<f4") for name in text_tensors(weights.shape)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors_file(path, tensors, {_SHAPE: json.dumps(asdict(weights.shape))})
    except OSError as error:
        progress.warn(f"{path} cannot be written ({error.strerror}): each search reads all weights")


def load_text_tower(
    fingerprint: str, *, weights: str | None, fallbacks: Sequence[str], cache: Path, progress: Progress
) -> NumpyTextTower:
    """Load the text tower of a backbone from the cache, or from its weights; see `find_weights`.

    Raises:
        UsageError: `weights` is not the name of a model.
        FileError: `weights` does not exist.
        WeightsError: the weights are missing, damaged, or of another model.
    """
    tower = _read(text_tower_path(cache, fingerprint)) if weights is None else None
    if tower is not None:
        return tower
    found = find_weights(fingerprint, weights=weights, fallbacks=fallbacks, cache=cache, progress=progress)
    keep_text_tower(found, fingerprint, cache, progress)
    tensors = {name: np.asarray(found.tensors[name], np.float32) for name in text_tensors(found.shape)}
    return NumpyTextTower(tensors, found.shape)


def find_weights(
    fingerprint: str, *, weights: str | None, fallbacks: Sequence[str], cache: Path, progress: Progress
) -> Weights:
    """Read the weights of a backbone.

    Args:
        fingerprint: fingerprint of the index's backbone.
        weights: name or path given by the user, which is read and verified.
        fallbacks: names or paths to try if `weights` is None.
        cache: folder of derived weights.
        progress: receives warnings and the progress of downloads.

    Raises:
        UsageError: `weights` is not the name of a model.
        FileError: `weights` does not exist.
        WeightsError: the weights are missing, damaged, or of another model.
    """
    if weights is not None:
        return _read_verified(weights, fingerprint, cache, progress)
    problems = []
    for fallback in fallbacks:
        try:
            return _read_verified(fallback, fingerprint, cache, progress)
        except (DataError, UsageError) as error:
            problems.append(str(error))
    raise WeightsError(
        f"the weights of the index's model are missing: {'; '.join(problems)}",
        hint="give their path with --weights",
    )


def _read_verified(weights: str, fingerprint: str, cache: Path, progress: Progress) -> Weights:
    from vopcli.weights.reader import read_weights, resolve_weights

    found = read_weights(resolve_weights(weights, cache=cache, progress=progress))
    if found.fingerprint() != fingerprint:
        raise WeightsError(
            f"{weights} is not the model of the index",
            hint="give the weights that were used to encode it, or encode another index with them",
        )
    return found


def _read(path: Path) -> NumpyTextTower | None:
    """Map a cached text tower; None if it is missing or damaged."""
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
