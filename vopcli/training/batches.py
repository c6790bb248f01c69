"""Batches of frames and captions, read ahead by a thread: between processes raw frames would be copied."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vopcli.frames.store import FrameStore, StoredVideo

READ_AHEAD = 2  # batches; more would only hold memory
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Samples:
    """Captioned videos, tokenised once.

    Attributes:
        store: where the frames are.
        videos: of each caption, the video it describes.
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
        tokens: (B, L) int64, cut after its longest caption.
        names: the paths of the videos.
    """

    frames: Tensor
    tokens: Tensor
    names: list[str]


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the samples in an epoch: the same whenever it is asked for, so a run can go on."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def epoch_candidates(samples: Samples, *, seed: int, epoch: int) -> NDArray[np.uint8] | None:
    """Draw for each sample of an epoch, (N, F), which candidate of each segment it shows.

    As the order, the draw is the same whenever it is asked for. None: there is one candidate only.
    """
    num_candidates = samples.store.recipe.candidates
    if num_candidates == 1:
        return None
    shape = (len(samples), samples.videos[0].num_frames)
    return np.random.default_rng([seed, epoch, 1]).integers(num_candidates, size=shape, dtype=np.uint8)


class BatchReader:
    """An iterator over an epoch's batches that reads ahead, and counts the time its user waited.

    Args:
        samples: all samples.
        order: (N,) which of them to read, in their order.
        candidates: for each sample (not in the order's order), which frames to read; see `epoch_candidates`.
        batch_size: samples of a batch; the last one may be smaller.
        pin: put the frames into pinned memory.

    Attributes:
        waited_seconds: how long ``next`` has blocked so far.
    """

    def __init__(
        self,
        samples: Samples,
        order: NDArray[np.int64],
        *,
        candidates: NDArray[np.uint8] | None = None,
        batch_size: int,
        pin: bool,
    ) -> None:
        self.waited_seconds = 0.0
        self._samples, self._candidates, self._pin = samples, candidates, pin
        self._parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._ready: queue.Queue[Any] = queue.Queue(READ_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> BatchReader:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        for _ in self._parts:
            began = time.perf_counter()
            item = self._ready.get()
            self.waited_seconds += time.perf_counter() - began
            if isinstance(item, BaseException):
                raise item
            yield item

    def _work(self) -> None:
        try:
            for part in self._parts:
                if self._stop.is_set():
                    return
                self._put(self._read(part))
        except BaseException as error:  # noqa: BLE001  (raised again by the iterator)
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        """Wait for room, or for the end: Ctrl-C may leave the queue without a wake-up for this thread."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=POLL_SECONDS)
                return

    def _read(self, part: NDArray[np.int64]) -> Batch:
        videos = [self._samples.videos[i] for i in part]
        size = self._samples.store.recipe.size
        shape = (len(videos), videos[0].num_frames, size, size, 3)
        frames = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pin)
        candidates = None if self._candidates is None else self._candidates[part]
        self._samples.store.read_batch(videos, frames.numpy(), candidates)
        tokens = self._samples.tokens[part]
        length = int((tokens != 0).any(axis=0).nonzero()[0][-1]) + 1
        return Batch(frames, torch.from_numpy(tokens[:, :length].copy()), [video.path for video in videos])
