"""Batches of frames and captions, for a thread that reads ahead; processes would copy the frames."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.training.processes import ALONE, Processes


@dataclass(frozen=True)
class Samples:
    """Captioned videos, tokenised once.

    Attributes:
        store: where the frames are.
        videos: (N,) the video that each caption describes.
        tokens: (N, L) int64, zero after the end of each caption.
    """

    store: FrameStore
    videos: Sequence[StoredVideo]
    tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.videos)


@dataclass(frozen=True)
class Batch:
    """One step's input on the host, in pinned memory where there is a GPU.

    Attributes:
        frames: (B, F, S, S, 3) uint8.
        tokens: (B, L) int64, truncated after the longest caption, or up to a multiple of tokens after it.
        names: the names of the videos.
        first: position of the first video in the whole batch, of which other processes have the rest.
        count: number of videos in the whole batch.
    """

    frames: Tensor
    tokens: Tensor
    names: list[str]
    first: int
    count: int


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the samples in an epoch; it follows from the seed, so that a run can be resumed."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def epoch_candidates(samples: Samples, *, seed: int, epoch: int) -> NDArray[np.uint8] | None:
    """Draw for each sample of an epoch, (N, F), which candidate of each segment it shows.

    Like the order, the draw follows from the seed. None: the store has one candidate per segment.
    """
    num_candidates = samples.store.recipe.candidates
    if num_candidates == 1:
        return None
    shape = (len(samples), samples.videos[0].num_frames)
    return np.random.default_rng([seed, epoch, 1]).integers(num_candidates, size=shape, dtype=np.uint8)


def read_batches(
    samples: Samples,
    order: NDArray[np.int64],
    *,
    candidates: NDArray[np.uint8] | None = None,
    batch_size: int,
    pin: bool,
    processes: Processes = ALONE,
    text_multiple: int = 1,
) -> Generator[Batch, None, None]:
    """Yield the batches of an epoch.

    Args:
        samples: all samples.
        order: (N,) indices of the samples to read, in reading order.
        candidates: frames to read of each sample, indexed by sample and not by ``order``; see
            `epoch_candidates`.
        batch_size: samples of a batch; the last one may be smaller.
        pin: put the frames into pinned memory.
        processes: the processes that share each batch; only the part of this one is read.
        text_multiple: captions are padded to a multiple of so many tokens, but not beyond the longest of all.
    """
    for start in range(0, len(order), batch_size):
        whole = order[start : start + batch_size]
        rows = processes.part(len(whole))
        part = whole[rows]
        videos = [samples.videos[i] for i in part]
        size = samples.store.recipe.size
        shape = (len(videos), videos[0].num_frames, size, size, 3)
        frames = torch.empty(shape, dtype=torch.uint8, pin_memory=pin)
        samples.store.read_batch(videos, frames.numpy(), None if candidates is None else candidates[part])
        tokens = samples.tokens[part]
        length = int((tokens != 0).any(axis=0).nonzero()[0][-1]) + 1
        length = -(-length // text_multiple) * text_multiple
        names = [video.name for video in videos]
        yield Batch(frames, torch.from_numpy(tokens[:, :length].copy()), names, rows.start, len(whole))
