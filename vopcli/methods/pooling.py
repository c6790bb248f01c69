"""Mean pooling of frame embeddings in NumPy; `model.pool_frames` is the same with gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_embedding(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map frame embeddings (..., F, E) to video embeddings (..., E): their mean, L2-normalised."""
    mean = frames.mean(axis=-2, dtype=np.float32)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
