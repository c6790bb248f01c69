"""Pooling: combine the cosines of a text with the frames of a video into one score. NumPy only.

With f_1 ... f_F the L2-normalised frame embeddings of a video, q a text's, and c_i = q . f_i their cosines:

    mean          q . m / |m|, m = (f_1 + ... + f_F) / F: a cosine. CLIP4Clip's meanP (arXiv 2104.08860), VoP
    mean-raw      q . m = (c_1 + ... + c_F) / F. ModelScope's VoP pipeline
    max           the largest c_i
    top-K         the mean of the K largest c_i. After the top-k that X-Pool compares with (arXiv 2203.15086)
    attention:T   sum of w_i c_i, w = softmax(c / T). After the query scoring of Bain et al., A
                  CLIP-Hitchhiker's Guide to Long Video Retrieval (arXiv 2205.08508)

The last three weight the frames by the text. All rules except the first give means of cosines rather than
cosines, since the weighted mean is not normalised. The repeated last frame of a short video counts as
several frames in every rule. The papers are cited for the ideas; their results were not reproduced here.

Axes: Q captions, G videos, F frames, E joint width.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Pooling, PoolingRule
from vopcli.methods.pooling import mean_embedding
from vopcli.search.similarity import AnyFloats, CosineRows, GivenRows, NotFiniteError, iter_blocks

_VIDEOS_AT_A_TIME: Final = 256


def pool_scores(cosines: AnyFloats, pooling: Pooling) -> NDArray[np.float64]:
    """Map the cosines of a text with the frames of a video (..., F) to a score (...), in float64.

    Raises:
        ValueError: the rule is ``mean``, which needs the frames, not their cosines.
    """
    cosines = np.sort(cosines.astype(np.float64), axis=-1)  # the same sum whatever the order of the frames
    if pooling.rule is PoolingRule.MEAN:
        raise ValueError("the normalised mean cannot be computed from cosines")
    if pooling.rule is PoolingRule.MEAN_RAW:
        return np.asarray(cosines.mean(axis=-1))
    if pooling.rule is PoolingRule.ATTENTION:
        weights = np.exp((cosines - cosines[..., -1:]) / pooling.temperature)
        return np.asarray((weights * cosines).sum(axis=-1) / weights.sum(axis=-1))
    top = pooling.top if pooling.rule is PoolingRule.TOP else 1
    return np.asarray(cosines[..., -top:].mean(axis=-1))


class _FrameRows:
    """The pooled scores (Q, G) of captions with videos, computed for one block of both at a time."""

    def __init__(self, text: AnyFloats, frames: AnyFloats, pooling: Pooling) -> None:
        sums = np.einsum("qe->q", text), np.einsum("gfe->g", frames)  # not finite if any component is not
        bad_text, bad_video = (np.flatnonzero(~np.isfinite(part)) for part in sums)
        if len(bad_text) or len(bad_video):
            raise NotFiniteError(
                f"NaN or infinity in the embeddings of {len(bad_text)} captions, {len(bad_video)} videos",
                text_indices=bad_text,
                video_indices=bad_video,
            )
        self._text, self._frames, self._pooling = text, frames, pooling
        self.shape = (len(text), len(frames))

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        text = self._text[rows]
        scores = np.empty((len(text), self.shape[1]), np.float32)
        for start in range(0, self.shape[1], _VIDEOS_AT_A_TIME):
            frames = self._frames[start : start + _VIDEOS_AT_A_TIME]  # (n, F, E)
            cosines = CosineRows(text, frames.reshape(-1, frames.shape[-1]))
            for part in iter_blocks(cosines.shape, None):
                block: NDArray[Any] = cosines[part].reshape(-1, *frames.shape[:2])
                scores[part, start : start + len(frames)] = pool_scores(block, self._pooling)
        return scores


def pooled_rows(text: AnyFloats, frames: AnyFloats, pooling: Pooling) -> CosineRows | GivenRows:
    """Return the pooled scores (Q, G) as blocks computed on demand; Q x G x F cosines are never in memory.

    Args:
        text: (Q, E) L2-normalised.
        frames: (G, F, E) L2-normalised.
        pooling: the rule.

    Raises:
        NotFiniteError: an embedding is NaN or infinite; the error lists captions and videos.
    """
    if pooling.rule not in {PoolingRule.MEAN, PoolingRule.MEAN_RAW}:
        return GivenRows(_FrameRows(text, frames, pooling))
    if pooling.rule is PoolingRule.MEAN_RAW:
        return CosineRows(text, frames.mean(axis=1, dtype=np.float32))
    with np.errstate(invalid="ignore"):  # infinity becomes NaN, which CosineRows refuses
        return CosineRows(text, mean_embedding(frames))
