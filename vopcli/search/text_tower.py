"""The text tower of an index's model in NumPy, with its tensors cached as a memory-mapped float32 file.

Axes: Q texts, E joint width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.weights.reader import Weights

_SHAPE: Final = "shape"
_BATCH: Final = 64


@dataclass(frozen=True)
class ModelSource:
    """Where the model of an index is looked for.

    Attributes:
        cache: folder of derived weights.
        progress: receives warnings and the progress of downloads.
        weights: name or path given by the user, which is read and verified; None to find the weights.
        fallbacks: names or paths to try, before those of the index, if `weights` is None.
        adapter: path of the index's adapter, for pictures and videos; None: the recorded one.
    """

    cache: Path
    progress: Progress
    weights: str | None = None
    fallbacks: Sequence[str] = ()
    adapter: Path | None = None


class TextEncoder:
    """The text tower of an index, with its adapter; loaded for the first text."""

    def __init__(self, index: VideoIndex, source: ModelSource) -> None:
        self._index, self._source = index, source
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
                self._source.progress.warn(
                    f"a query is longer than {tower.max_tokens} tokens and is truncated"
                )
            out[begin : begin + _BATCH] = tower.encode(ids)
        if not np.isfinite(out).all():
            raise DataError(
                "the embedding of the query is NaN or infinite: the text tower is damaged",
                hint=f"remove the folder {self._source.cache / 'text'}, which is created again",
            )
        return out

    def _load(self) -> tuple[Tokenizer, NumpyTextTower]:
        return Tokenizer(), self._tuned(load_text_tower(self._index.meta, self._source))

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
        sizes = {name: value for name, value in asdict(weights.shape).items() if name != "preprocessing"}
        write_safetensors_file(path, tensors, {_SHAPE: json.dumps(sizes)})
    except OSError as error:
        progress.warn(f"{path} cannot be written ({error.strerror}): each search reads all weights")


def load_text_tower(meta: IndexMeta, source: ModelSource) -> NumpyTextTower:
    """Load the text tower of an index's backbone from the cache, or from its weights.

    Raises:
        UsageError: the weights given by the user are not the name of a model.
        FileError: they do not exist.
        WeightsError: the weights are missing, damaged, or of another model.
    """
    tower = _read(text_tower_path(source.cache, meta.fingerprint)) if source.weights is None else None
    if tower is not None:
        return tower
    found = find_weights(meta, source)
    keep_text_tower(found, meta.fingerprint, source.cache, source.progress)
    tensors = {name: np.asarray(found.tensors[name], np.float32) for name in text_tensors(found.shape)}
    return NumpyTextTower(tensors, found.shape)


def find_weights(meta: IndexMeta, source: ModelSource) -> Weights:
    """Read the weights of an index's backbone.

    Raises:
        UsageError: the weights given by the user are not the name of a model.
        FileError: they do not exist.
        WeightsError: the weights are missing, damaged, or of another model.
    """
    if source.weights is not None:
        _refuse_other_name(source.weights, meta.weights)
        return _read_verified(source.weights, meta.fingerprint, source)
    problems = []
    for fallback in (*source.fallbacks, meta.weights):
        try:
            return _read_verified(fallback, meta.fingerprint, source)
        except (DataError, UsageError) as error:
            problems.append(str(error))
    raise WeightsError(
        f"the weights of the index's model are missing: {'; '.join(problems)}",
        hint="give their path with --weights",
    )


def _refuse_other_name(given: str, own: str) -> None:
    """Refuse the name of another model before it is downloaded.

    Raises:
        WeightsError: both are names of models, and differ.
    """
    from vopcli.weights.catalog import DEMO_NAME, find_model

    wanted, stored = find_model(given), find_model(own)
    if wanted and (stored or own.lower() == DEMO_NAME) and wanted != stored:
        raise WeightsError(
            f"{given} is not the model of the index, which is {own}",
            hint="omit --weights, or encode another index with them",
        )


def _read_verified(weights: str, fingerprint: str, source: ModelSource) -> Weights:
    from vopcli.weights.reader import open_weights

    found = open_weights(weights, cache=source.cache, progress=source.progress, fingerprint=fingerprint)
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
