"""Indexes for tests, with embeddings drawn at random: no model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index

WIDTH = 40  # as that of ``tests.support.clip.tiny_clip``
META = IndexMeta("some.safetensors", "ab" * 32, {"sampling": "uniform:3", "size": 35}, WIDTH)


def unit_rows(count: int, *, width: int = WIDTH, seed: int = 0) -> NDArray[np.float32]:
    """(count, width) float32 random directions."""
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def new_videos(paths: Sequence[str], *, num_frames: int = 3, root: str = "/videos") -> list[NewVideo]:
    """Videos to lay out."""
    return [
        NewVideo(root, path, 100 + i, 10**18 + i, bytes([i % 255 + 1] * 32), num_frames=num_frames)
        for i, path in enumerate(paths)
    ]


def encoded_video(slot: int, *, num_frames: int = 3, num_real: int = 3, seed: int = 0) -> EncodedVideo:
    """A video with random frames, at 0.5, 1.5, 2.5, ... seconds."""
    frames = unit_rows(num_frames, seed=1000 * seed + slot)
    mean = frames.mean(axis=0)
    return EncodedVideo(
        slot=slot,
        embedding=mean / np.linalg.norm(mean),
        frames=frames.astype(np.float16),
        seconds=np.arange(num_frames) + 0.5,
        num_real=num_real,
        duration_seconds=num_frames + 0.25,
    )


def rewrite_index(path: Path, rows: Sequence[int]) -> None:
    """Keep only the given rows of an index."""
    with IndexWriter(path) as writer:
        writer.rewrite(rows)


def make_index(
    path: Path, names: Sequence[str], *, meta: IndexMeta = META, seed: int = 0
) -> list[EncodedVideo]:
    """Write an index, or add to it, and return what is in it by the order of ``names``."""
    if not path.exists():
        create_index(path, meta)
    encoded = [encoded_video(slot, seed=seed) for slot in range(len(names))]
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(names))
        writer.add(encoded)
    return encoded
