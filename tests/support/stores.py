"""Frame stores for tests: made-up frames of numbered videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.video.sampling import parse_sampling

SIZE, FRAMES = 32, 5
RAW = Recipe(parse_sampling("uniform:5"), SIZE)
JPEG = Recipe(parse_sampling("uniform:5"), SIZE, codec="jpeg")


def frames_of(number: int, count: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def jpegs_of(number: int, count: int = FRAMES, quality: int = 95) -> list[np.ndarray]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return [
        cv2.imencode(".jpg", frame[:, :, ::-1], options)[1].reshape(-1) for frame in frames_of(number, count)
    ]


def seconds_of(number: int, count: int = FRAMES) -> np.ndarray:
    return np.arange(count) * 0.1 + number


def row_of(number: int, name: str = "") -> Row:
    return Row(
        status=Status.PENDING,
        path=name or f"folder/video {number}.mp4",
        root="/videos",
        size=1000 + number,
        mtime_ns=10**18 + number,
        sha256=bytes([number + 1] * 32),
        duration_seconds=12.5 + number,
        fps=29.97,
        width=640,
        height=360,
        rotation_degrees=90,
        num_real=FRAMES - 1,
        num_bad_packets=number,
    )


def put(writer: FrameStoreWriter, place: int, number: int, count: int = FRAMES) -> None:
    frames: Any = frames_of(number, count) if writer.recipe.codec == "raw" else jpegs_of(number, count)
    writer.put_frames(place, row_of(number), frames, seconds_of(number, count))


def create(path: Path, recipe: Recipe) -> FrameStoreWriter:
    create_store(path, recipe)
    return FrameStoreWriter(path)


def write(path: Path, numbers: list[int], recipe: Recipe = RAW, finish: int | None = None) -> None:
    """Add videos in one run, and finish all of them, or only the first few."""
    opened = FrameStoreWriter(path) if path.exists() else create(path, recipe)
    with opened as writer:
        writer.lay_out([row_of(number) for number in numbers], [FRAMES] * len(numbers))
        for place, number in list(enumerate(numbers))[:finish]:
            put(writer, place, number)


def check(path: Path, numbers: list[int]) -> None:
    """Compare everything that is stored."""
    store = FrameStore.open(path)
    assert [video.path for video in store.videos] == sorted(row_of(number).path for number in numbers)
    assert store.num_damaged_rows == 0
    assert store.verify() == []
    for video in store.videos:
        number = video.size - 1000
        row = row_of(number)
        for name in [
            "path",
            "root",
            "size",
            "mtime_ns",
            "sha256",
            "duration_seconds",
            "fps",
            "width",
            "height",
        ]:
            assert getattr(video, name) == getattr(row, name)
        assert (video.rotation_degrees, video.num_real, video.num_bad_packets) == (90, FRAMES - 1, number)
        np.testing.assert_array_equal(video.seconds, seconds_of(number))
        np.testing.assert_array_equal(store.read(video), expected_frames(number, store.recipe))


def expected_frames(number: int, recipe: Recipe) -> np.ndarray:
    if recipe.codec == "raw":
        return frames_of(number)
    return np.stack([cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1] for jpeg in jpegs_of(number)])


def slots(path: Path) -> list[int]:
    return [segment.columns["frames"].shape[0] for segment in SegmentFile.read(path, FRAME_FORMAT).segments]
