"""Encode texts with the text tower of an index's model; loads no torch.

Axes: Q texts, E joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import ConfigError, DataError
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder

if TYPE_CHECKING:
    from vopcli.clip.text_numpy import NumpyTextTower
    from vopcli.clip.tokenizer import Tokenizer

_BATCH: Final = 64


class TextEncoder:
    """The text tower of an index, with its adapter; loaded by the first text.

    Args:
        index: the index whose model is wanted.
        weights: name or path of the weights, to be checked; None to find them.
        fallbacks: more names or paths to try.
        cache: folder of derived weights; the user's unless given.
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
                self._progress.warn(f"a query is longer than {tower.max_tokens} tokens: its end is left out")
            out[begin : begin + _BATCH] = tower.encode(ids)
        if not np.isfinite(out).all():
            raise DataError(
                "the model gives no numbers for the query: its text tower is damaged",
                hint=f"remove the folder {self._cache / 'text'}: it is made anew",
            )
        return out

    def _load(self) -> tuple[Tokenizer, NumpyTextTower]:
        from vopcli.clip.tokenizer import Tokenizer
        from vopcli.search.text_tower import load_text_tower

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
                f"{self._index.path} is damaged: its adapter does not fit its model: {error}",
                hint="make the index anew with `vop encode --overwrite`",
            ) from error
