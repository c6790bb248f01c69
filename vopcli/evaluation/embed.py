"""Embed the captions and videos of a split, and measure retrieval in the joint space.

Axes: Q captions, G videos, E joint width.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vopcli.clip.vision import normalise
from vopcli.config.choices import MEAN, Pooling, TieRule
from vopcli.datasets.splits import TokenisedSplit
from vopcli.errors import DivergedError
from vopcli.evaluation.metrics import RetrievalMetrics, measure_embeddings, measure_similarity
from vopcli.evaluation.ranks import top_columns
from vopcli.frames.store import FrameStore
from vopcli.methods.memory import encode_in_batches
from vopcli.methods.model import VideoTextModel, pool_frames
from vopcli.progress import Progress
from vopcli.search.pooling import pooled_rows
from vopcli.search.similarity import CosineRows, GivenRows, NotFiniteError

VIDEOS_AT_A_TIME = 16
TEXTS_AT_A_TIME = 256


@dataclass(frozen=True)
class Embedded:
    """A split in the joint space.

    Attributes:
        text: (Q, E) float32, L2-normalised.
        video: (G, E) float32, L2-normalised.
        frames: (G, F, E) float32, L2-normalised, unless ``pooling`` is the mean.
        pooling: how the frames of a video become one score.
    """

    text: NDArray[np.float32]
    video: NDArray[np.float32]
    frames: NDArray[np.float32] | None = None
    pooling: Pooling = MEAN

    def rows(self) -> CosineRows | GivenRows:
        """Return the scores (Q, G), computed lazily in blocks."""
        if self.frames is None:
            return CosineRows(self.text, self.video)
        return pooled_rows(self.text, self.frames, self.pooling)


def embed(
    model: VideoTextModel,
    store: FrameStore,
    captions: TokenisedSplit,
    dtype: torch.dtype,
    *,
    progress: Progress,
    pooling: Pooling = MEAN,
) -> Embedded:
    """Embed the captions and videos of a split; products are computed in ``dtype``.

    Raises:
        OutOfMemoryError: not even one video fits into memory.
    """
    device = next(model.parameters()).device
    video = np.empty((len(captions.videos), model.clip.shape.embed_dim), np.float32)
    all_frames = None
    if pooling != MEAN:
        all_frames = np.empty((len(video), captions.videos[0].num_frames, video.shape[1]), np.float32)
    size, preprocessing = store.recipe.size, model.clip.shape.preprocessing

    def encode(batch: slice) -> Tensor:
        part = captions.videos[batch]
        frames = np.empty((len(part), part[0].num_frames, size, size, 3), np.uint8)
        store.read_batch(part, frames)
        pixels = normalise(torch.from_numpy(frames), preprocessing, dtype=dtype, device=device)
        embedded = model.encode_frames(pixels)  # (B, F, E)
        if all_frames is not None:
            all_frames[batch] = embedded.cpu().numpy()
        return pool_frames(embedded)

    with _autocast(device, dtype):
        encode_in_batches(
            encode, video, batch_size=VIDEOS_AT_A_TIME, device=device, progress=progress, unit="video"
        )
    return Embedded(embed_texts(model, captions, dtype, progress=progress), video, all_frames, pooling)


def embed_texts(
    model: VideoTextModel, captions: TokenisedSplit, dtype: torch.dtype, *, progress: Progress
) -> NDArray[np.float32]:
    """Embed captions (Q, E), L2-normalised; products are computed in ``dtype``.

    Raises:
        OutOfMemoryError: not even one caption fits into memory.
    """
    device = next(model.parameters()).device
    text = np.empty((len(captions.texts), model.clip.shape.embed_dim), np.float32)

    def encode(batch: slice) -> Tensor:
        return model.encode_text(torch.from_numpy(captions.tokens[batch]).to(device))

    with _autocast(device, dtype):
        encode_in_batches(
            encode, text, batch_size=TEXTS_AT_A_TIME, device=device, progress=progress, unit="caption"
        )
    return text


def _autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    is_low = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype) if is_low else contextlib.nullcontext()


def measure(
    embedded: Embedded, captions: TokenisedSplit, ties: TieRule = TieRule.AVERAGE
) -> RetrievalMetrics:
    """Compute the metrics of both directions.

    Raises:
        DivergedError: an embedding is not finite; the message names its caption or video.
    """
    try:
        if embedded.frames is not None:
            return measure_similarity(embedded.rows(), captions.owner, ties=ties)
        return measure_embeddings(embedded.text, embedded.video, captions.owner, ties=ties)
    except NotFiniteError as error:
        names = [repr(captions.texts[i]) for i in error.text_indices[:3]]
        names += [captions.videos[i].name for i in error.video_indices[:3]]
        raise DivergedError(
            f"the embedding is not finite for {', '.join(names)}", hint="use --precision fp32"
        ) from error


def rank_top(embedded: Embedded, count: int) -> NDArray[np.int64]:
    """Return the ``count`` top-ranked videos (Q, count) of each caption, or all if there are fewer.

    Videos of equal scores are in the order of the gallery.
    """
    return top_columns(embedded.rows(), min(count, len(embedded.video)))
