"""A site to test: an index of real videos, and clients of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from tests.support.clip import tiny_clip
from tests.support.indexes import unit_rows
from tests.support.models import write_model
from tests.support.videos import make_video
from vopcli.index.meta import IndexMeta
from vopcli.index.thumbnails import pack_thumbnail
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.search import Index
from vopcli.web.app import Site, create_app
from vopcli.web.served import ServedIndex
from vopcli.weights.reader import read_weights

NAMES = ["plain.mp4", "deep/er/ü b.mp4", "<b>&amp;.mp4", os.fsdecode(b"bytes-\xff.mp4")]
FRAMES = 60  # 25 a second
SECONDS = np.array([0.3, 0.9, 1.5, 2.1])  # of the sampled frames
ORIGIN = "http://127.0.0.1:8000"


def add_videos(
    index: Path, root: Path, names: list[str], *, seed: int = 0, thumbnail: bytes | None = None
) -> None:
    """Add existing files to an index, with embeddings drawn at random, and one picture for all frames."""
    vectors = unit_rows(len(names) * len(SECONDS), seed=seed).reshape(len(names), len(SECONDS), -1)
    new = []
    for name in names:
        status = (root / name).stat()
        new.append(NewVideo(str(root), name, status.st_size, status.st_mtime_ns, num_frames=len(SECONDS)))
    with IndexWriter(index) as writer:
        writer.lay_out(new, thumbnails=thumbnail is not None)
        slots = None if thumbnail is None else np.stack([pack_thumbnail(thumbnail)] * len(SECONDS))
        for slot, frames in enumerate(vectors):
            mean = frames.mean(axis=0)
            mean /= np.linalg.norm(mean)
            halves = frames.astype(np.float16)
            writer.add(
                [EncodedVideo(slot, mean, halves, SECONDS, len(SECONDS), FRAMES / 25, thumbnails=slots)]
            )


def write_site(folder: Path) -> Path:
    """Write videos, a model, and an index of them, whose path is returned."""
    weights = write_model(folder / "tiny.safetensors")
    root = folder / "videos"
    (root / "deep/er").mkdir(parents=True)
    film = make_video(root / NAMES[0], num_frames=FRAMES)
    for name in NAMES[1:]:
        (root / name).write_bytes(film.read_bytes())
    index = folder / "idx.h5"
    recipe = {"sampling": "uniform:4", "size": tiny_clip().image_resolution}
    create_index(
        index, IndexMeta(str(weights), read_weights(weights).fingerprint(), recipe, tiny_clip().embed_dim)
    )
    add_videos(index, root, NAMES)
    return index


def make_site(*indexes: Path, log_queries: bool = False) -> tuple[Site, list[str]]:
    """Return a site, and the list that its log is written to."""
    lines: list[str] = []
    served = [ServedIndex(path, Index) for path in indexes]
    return Site(served, 10, lines.append, log_queries=log_queries), lines


def client_of(site: Site, *, token: str | None = None, hosts: tuple[str, ...] = ()) -> TestClient:
    """Return a client that calls the application without a network."""
    return TestClient(create_app(site, hosts=hosts, token=token), base_url=ORIGIN, follow_redirects=False)


@contextmanager
def running_server(*arguments: str | Path) -> Iterator[tuple[str, int]]:
    """Run `vop serve` with a free port; yield host and port."""
    command = [sys.executable, "-m", "vopcli", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = None
            while found is None:
                line = process.stderr.readline()  # type: ignore[union-attr]
                assert line, "the server has ended"
                found = re.search(r"http://([\d.]+):(\d+)/", line)
            yield found[1], int(found[2])
        finally:
            process.terminate()
            process.communicate(timeout=20)
