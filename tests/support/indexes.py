"""Indexes for tests, with embeddings drawn at random: no model is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.video.video_file import TimeWindow

NAMES = ["a.mp4", "deep/er/ü b.mkv", "line\nbreak.mp4", os.fsdecode(b"not-utf8-\xff.mp4"), "[red]x[/red].mp4"]
WIDTH = 40  # as that of ``tests.support.clip.tiny_clip``
QUERY, OTHER = np.eye(WIDTH, dtype=np.float32)[:2]  # embeddings of windows that match and do not
SECONDS = 10.0  # of a window
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


def contents(path: Path) -> dict[str, tuple[bytes, bytes, bytes, int]]:
    """By path what an index holds of a video: embedding, frames, times, and how many frames are real."""
    index = VideoIndex(path)
    found = {}
    for video in index.videos():
        frames, seconds = index.frames_of(video.row)
        key = (index.embedding_of(video.row).tobytes(), frames.tobytes(), seconds.tobytes(), video.num_real)
        if video.path in found:
            raise ValueError(f"{video.path} is in {path} twice")
        found[video.path] = key
    return found


def expected(names: list[str], encoded: list[EncodedVideo]) -> dict[str, tuple[bytes, bytes, bytes, int]]:
    """The same of the videos that were given to a writer."""
    return {
        name: (item.embedding.tobytes(), item.frames.tobytes(), item.seconds.tobytes(), item.num_real)
        for name, item in zip(names, encoded, strict=True)
    }


def add_film(
    path: Path,
    *,
    matching: int,
    windows: Sequence[int],
    is_whole: bool,
    mtime_ns: int = 1,
    seconds: float = SECONDS,
    num_windows: int = 4,
    name: str = "film.mp4",
    rows: NDArray[np.float32] | None = None,
) -> None:
    """Add windows of a film, one of which matches the query, and its own row if it is whole.

    With ``rows``, the frames of its windows are these, 12 of each.
    """
    spans = [TimeWindow(seconds * number, seconds * (number + 1)) for number in windows]
    new = [NewVideo("/v", name, 9, mtime_ns, num_frames=12, window=span, is_part=True) for span in spans]
    new += [NewVideo("/v", name, 9, mtime_ns, num_frames=12)] * is_whole
    duration = num_windows * seconds
    with IndexWriter(path) as writer:
        writer.lay_out(new)
        for slot, video in enumerate(new):
            start, length = (video.window.start_seconds, seconds) if video.is_part else (0.0, duration)
            vector = QUERY if video.is_part and start == seconds * matching else OTHER
            frames = np.repeat(vector[None], 12, axis=0).astype(np.float16)
            if rows is not None and video.is_part:
                frames = rows[12 * slot : 12 * slot + 12].astype(np.float16)
            times = start + (np.arange(12) + 0.5) * length / 12
            writer.add([EncodedVideo(slot, vector, frames, times, 12, duration)])
