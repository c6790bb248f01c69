"""The model of an index for queries: the text tower for texts, all of it for pictures and videos.

Axes: Q queries, E joint width.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.progress import interrupts_deferred
from vopcli.search.engine import Floats
from vopcli.search.query import Query, QueryPart, combine, stored_embedding
from vopcli.search.text_tower import ModelSource, TextEncoder

if TYPE_CHECKING:
    from vopcli.search.image_model import ImageModel


class QueryEncoder:
    """Encodes queries; the first text loads the text tower, the first picture or video loads torch."""

    def __init__(self, index: VideoIndex, source: ModelSource) -> None:
        self._index, self._source = index, source
        self._texts = TextEncoder(index, source)

    def encode(self, queries: Sequence[Any]) -> Floats:
        """Return the embedding of each query: (Q, E) float32, L2-normalised.

        Raises:
            UsageError: a text is empty, a sum is zero, or a query is of another kind.
            WeightsError: the index's model is missing.
            DataError: the model is damaged, or does not fit the index.
        """
        asked = [Query((QueryPart("text", one),)) if isinstance(one, str) else one for one in queries]
        parts = [part for query in asked if isinstance(query, Query) for part in query.parts]
        texts = list(dict.fromkeys(part.value for part in parts if part.kind == "text"))
        if not all(text.strip() for text in texts):
            raise UsageError("the query is empty", hint='describe a scene, such as "a dog on a beach"')
        encoded = dict(zip(texts, self._texts.encode(texts), strict=True)) if texts else {}
        vectors = np.empty((len(queries), self._index.meta.embed_dim), np.float32)
        for number, query in enumerate(asked):
            vectors[number] = (
                combine([self._embed(part, encoded) for part in query.parts], query)
                if isinstance(query, Query)
                else self._vector(np.asarray(query))
            )
        return vectors

    def _embed(self, part: QueryPart, texts: Mapping[str, Floats]) -> Floats:
        if part.kind == "text":
            return texts[part.value]
        if part.kind == "like":
            return stored_embedding(self._index, part.value)
        if part.kind == "video":
            return self._image_model.embed_video(part.value)
        from vopcli.video.picture import read_picture

        picture = read_picture(Path(part.value))  # reports its errors before the model is loaded
        return self._image_model.embed_picture(picture)

    def _vector(self, query: NDArray[Any]) -> Floats:
        if query.dtype == np.uint8 and query.ndim == 3 and query.shape[2] == 3:
            return self._image_model.embed_picture(query)
        width = self._index.meta.embed_dim
        if query.shape != (width,) or not np.issubdtype(query.dtype, np.floating):
            raise UsageError(
                f"cannot search for an array of shape {query.shape} and dtype {query.dtype}",
                hint=f"give a text, an embedding ({width},), a frame (H, W, 3) uint8, or a vopcli.Query",
            )
        norm = float(np.linalg.norm(query))
        if not 0 < norm < np.inf:
            raise UsageError("the vector is zero, infinite or NaN", hint="give an embedding of this model")
        return np.asarray(query / norm, np.float32)

    @functools.cached_property
    def _image_model(self) -> ImageModel:
        with interrupts_deferred():  # torch cannot be imported again after an interruption
            from vopcli.search.image_model import ImageModel

        return ImageModel(self._index, self._source)
