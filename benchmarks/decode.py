"""Decode 12 uniform frames of a video: vop against cv2, PyAV, decord and torchcodec, on one core.

    python benchmarks/decode.py [--rounds 5] [--folder DIR]

Makes the videos once, checks that every reader returns the same frames, times the readers in turn, and writes
``benchmarks/results/decode.md``. Each reader ends with the same thing: 12 RGB frames of full size in memory.
The last column adds what vop does with them next: resize, crop, times. A peer that is not installed is left
out, and said to be.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from pattern import make_pattern

from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.video.colour import RgbConverter
from vopcli.video.decoder import OpenVideo, decode_timed
from vopcli.video.packets import open_video, scan
from vopcli.video.pool import DecodeJob, decode_videos
from vopcli.video.preprocess import fit_frame
from vopcli.video.sampling import Sampling, uniform_indices
from vopcli.video.video import FrameSpec, read_frames

NUM_FRAMES, SIZE = 12, 224
RESULTS = Path(__file__).parent / "results" / "decode.md"
Frames = NDArray[np.uint8]
Reader = Callable[[str, list[int]], Sequence[Frames]]

X264 = "-c:v libx264 -preset medium -pix_fmt yuv420p -sc_threshold 0"
# name -> (size, seconds, fps, FFmpeg's coding options, suffix)
VIDEOS = {
    "h264 240p 15 s, GOP 250": ("426x240", 15, 30, f"{X264} -g 250", "mp4"),
    "h264 240p 15 s, GOP 12": ("426x240", 15, 30, f"{X264} -g 12", "mp4"),
    "h264 720p 20 s": ("1280x720", 20, 30, f"{X264} -g 250", "mp4"),
    "vp9 240p": (
        "426x240",
        15,
        30,
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 6 -b:v 600k -g 250",
        "webm",
    ),
    "mpeg4 avi 240p": ("426x240", 15, 30, "-c:v mpeg4 -q:v 5 -g 12", "avi"),
    "hevc 360p": (
        "640x360",
        15,
        30,
        "-c:v libx265 -preset medium -x265-params log-level=error:keyint=250",
        "mp4",
    ),
    "h264 360p 3 min": ("640x360", 180, 30, f"{X264} -preset veryfast -g 250", "mp4"),
}
AV1 = ("av1 240p", ("426x240", 15, 30, "-c:v libsvtav1 -preset 10 -g 120", "mp4"))


def make_videos(folder: Path) -> dict[str, Path]:
    """Code the test pattern with a moving gradient and a little noise, once."""
    made = {}
    for name, (size, seconds, fps, options, suffix) in {**VIDEOS, AV1[0]: AV1[1]}.items():
        path = folder / f"{name.replace(' ', '-').replace(',', '')}.{suffix}"
        made[name] = make_pattern(path, options, size=size, fps=fps, seconds=seconds)
    return made


def vop(path: str, indices: list[int]) -> Sequence[Frames]:
    """Decode as `vop extract-frames` does, up to the resizing."""
    container, stream = open_video(path, DEFAULT_MAX_PIXELS)
    converter, frames = RgbConverter(), {}
    with container:
        video = OpenVideo(
            path, container, stream, scan(container, stream, tick=idle, hold=True), idle, DEFAULT_MAX_PIXELS
        )
        wanted = [video.table.order[index] for index in uniform_indices(NUM_FRAMES, len(video.table.order))]
        decode_timed(video, wanted, lambda slot, frame: frames.update({slot: converter.convert(frame)}))
    return [frames[slot] for slot in range(NUM_FRAMES)]


def idle() -> None:
    """Do nothing where a worker process would tell that it lives."""


def vop_resized(path: str, indices: list[int]) -> Sequence[Frames]:
    """Do the whole of what `vop extract-frames` does with a video but storing it."""
    return read_frames(path, Sampling("uniform", NUM_FRAMES), size=SIZE).frames


def cv2_seek(path: str, indices: list[int]) -> Sequence[Frames]:
    """Set the position, read, as most code does."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    frames = []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    return frames


def cv2_sequential(path: str, indices: list[int]) -> Sequence[Frames]:
    """Grab every frame, convert only the wanted ones."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    frames, wanted = [], set(indices)
    for index in range(indices[-1] + 1):
        capture.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    return frames


def pyav_sequential(path: str, indices: list[int]) -> Sequence[Frames]:
    """Decode from the start to the last wanted frame."""
    frames, wanted = [], set(indices)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index == indices[-1]:
                break
    return frames


def decord_reader(path: str, indices: list[int]) -> Sequence[Frames]:
    """Read a batch with decord."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return reader.get_batch(indices).asnumpy()


def torchcodec_reader(path: str, indices: list[int]) -> Sequence[Frames]:
    """Read a batch with torchcodec, after its own scan of the file."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
    return decoder.get_frames_at(indices).data.numpy()


READERS: dict[str, Reader] = {
    "cv2 seek + read": cv2_seek,
    "cv2 sequential": cv2_sequential,
    "PyAV sequential": pyav_sequential,
    "decord": decord_reader,
    "torchcodec exact": torchcodec_reader,
    "vop": vop,
    "vop, resized": vop_resized,
}


def usable_readers(path: str, indices: list[int]) -> dict[str, Reader]:
    """Leave out the peers that cannot be imported."""
    usable = {}
    for name, reader in READERS.items():
        try:
            reader(path, indices)
        except (ImportError, RuntimeError, OSError) as error:
            print(
                f"{name}: not installed or not working, left out ({str(error).splitlines()[0]})",
                file=sys.stderr,
            )
        else:
            usable[name] = reader
    return usable


def agreement(frames: Sequence[Frames], expected: Sequence[Frames]) -> str:
    """Say how many frames are the same picture, judged by the mean difference."""
    same = [np.abs(a.astype(int) - b).mean() < 3 for a, b in zip(frames, expected, strict=True)]
    return "" if all(same) else f" ({NUM_FRAMES - sum(same)} of {NUM_FRAMES} frames wrong)"


def measure(path: Path, readers: dict[str, Reader], rounds: int) -> dict[str, tuple[float, str]]:
    """Return videos a second of processor time and a remark for each reader; the readers take turns."""
    with av.open(str(path)) as container:
        indices = uniform_indices(NUM_FRAMES, sum(packet.size > 0 for packet in container.demux(video=0)))
    whole = pyav_sequential(str(path), indices)
    square = [fit_frame(frame, SIZE) for frame in whole]
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    remarks = {}
    for turn in range(rounds + 1):
        for name, reader in readers.items():
            start = time.process_time()
            try:
                frames = reader(str(path), indices)
            except Exception as error:  # noqa: BLE001  a peer that cannot read a file is a result
                remarks[name] = f" (fails: {type(error).__name__})"
                continue
            if turn:  # the first round warms caches and checks the answers
                seconds[name].append(time.process_time() - start)
            else:
                remarks[name] = agreement(frames, whole if frames[0].shape == whole[0].shape else square)
    rates = {name: 1 / statistics.median(taken) if taken else 0.0 for name, taken in seconds.items()}
    return {name: (rates[name], remarks[name]) for name in readers}


def pool_speedup(path: Path, repeats: int) -> float:
    """Return how many times faster two workers are than one, start-up left out."""
    rates = {}
    for workers in (1, 2, 1, 2):
        jobs = [DecodeJob(key, str(path)) for key in range(repeats)]
        results = decode_videos(jobs, FrameSpec(Sampling("uniform", NUM_FRAMES), SIZE), workers=workers)
        for _ in range(2 * workers):
            next(results)
        start = time.perf_counter()
        done = sum(1 for _ in results)
        rates[workers] = max(rates.get(workers, 0.0), done / (time.perf_counter() - start))
    return rates[2] / rates[1]


def machine() -> str:
    """Name the processor and its cores."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def cell(rate: float, remark: str) -> str:
    """Write a rate, and what is to be said about it."""
    return (f"{rate:.3g}" if rate else "-") + remark


def report(results: dict[str, dict[str, tuple[float, str]]], readers: list[str], speedup: float) -> str:
    """Write the tables in Markdown."""
    peers = [name for name in readers if not name.startswith("vop")]
    header = ["video", *readers, "vop / cv2 seek", "vop / best peer"]
    lines = [
        "# Decoding: videos a second, 12 uniform frames, one core",
        "",
        f"Measured on {machine()}. Videos a second of processor time, medians; the readers took turns.",
        "A peer that returned other frames than FFmpeg's own is not counted as best.",
        "Written by `benchmarks/decode.py`.",
        "",
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
    ]
    for name, row in results.items():
        best = max(row[peer][0] for peer in peers if not row[peer][1])
        ours, seek = row["vop"][0], row["cv2 seek + read"][0]
        ratios = [f"{ours / seek:.2f}" if seek else "-", f"{ours / best:.2f}"]
        lines.append("| " + " | ".join([name, *(cell(*row[reader]) for reader in readers), *ratios]) + " |")
    return "\n".join([*lines, "", f"Two worker processes against one: {speedup:.2f} times as fast.", ""])


def main() -> None:
    """Make the videos, measure, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vop-bench-videos")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    videos = make_videos(arguments.folder)
    first = next(iter(videos.values()))
    readers = usable_readers(str(first), list(range(NUM_FRAMES)))
    results, cores = {}, os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # a peer that starts threads has to share one core, as in a pool
    for name, path in videos.items():
        results[name] = measure(path, readers, arguments.rounds)
        print(name, {reader: cell(*result) for reader, result in results[name].items()}, file=sys.stderr)
    os.sched_setaffinity(0, cores)
    text = report(results, list(readers), pool_speedup(first, repeats=80))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
