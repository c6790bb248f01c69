"""Long videos: decoding against the peers, memory, encoding of a folder, and search of 100 hours.

    python benchmarks/long.py [--minutes 60] [--folder DIR] [--parts decode memory encode search]

An hour of 720p h264 with a key frame each 250 frames is made by repeating two minutes. Each reader takes 1.2
frames per second of it, on one core. Writes ``benchmarks/results/long.md``, where parts not measured
stay. A peer that is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed `vop` has its modules compiled

import av
import cv2
import numpy as np
import torch
from pattern import FFMPEG, make_pattern
from side_by_side import RESULTS, machine, markdown_table, medians_of_rounds, write_results

from vopcli.clip.device import choose_precision
from vopcli.config.choices import DecodeRule
from vopcli.files.safetensors import write_safetensors_file
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import SilentProgress
from vopcli.search.search import open_index
from vopcli.search.text_tower import keep_text_tower
from vopcli.video.sampling import Sampling
from vopcli.video.video import FrameSpec, read_windows, stated_duration
from vopcli.video.video_file import WHOLE, TimeWindow
from vopcli.video.windows import WindowRule
from vopcli.weights.reader import read_weights

LOOP_SECONDS, FPS, STEP = 120, 30, 25  # every 25th of 30 frames per second: 1.2 frames per second
NUM_FILMS, WINDOWS, NUM_FRAMES, WIDTH = 100, 360, 12, 512
QUERY = "a dog playing with its tail"


def make_video(folder: Path, minutes: int) -> Path:
    """Repeat two minutes of a moving test pattern with a little noise, without coding them again."""
    loop = make_pattern(folder / "loop.mp4", fps=FPS, seconds=LOOP_SECONDS)
    target = folder / f"{minutes}-minutes.mp4"
    if not target.exists():
        times = max(minutes * 60 // LOOP_SECONDS - 1, 0)
        repeat = ["-stream_loop", str(times), "-i", loop, "-t", str(minutes * 60), "-c", "copy"]
        subprocess.run([*FFMPEG, *repeat, target], check=True)
    return target


def pyav_sequential(path: str) -> int:
    """Decode all frames, convert each 25th."""
    count = 0
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number % STEP == 0:
                frame.to_ndarray(format="rgb24")
                count += 1
    return count


def cv2_sequential(path: str) -> int:
    """Grab all frames, convert each 25th."""
    capture, count, number = cv2.VideoCapture(path, cv2.CAP_FFMPEG), 0, 0
    while capture.grab():
        if number % STEP == 0:
            cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            count += 1
        number += 1
    return count


def torchcodec_batches(path: str) -> int:
    """Read each 25th frame, in batches that bound the memory."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1)
    wanted = range(0, len(decoder), STEP)
    batches = (list(wanted[begin : begin + 12]) for begin in range(0, len(wanted), 12))
    return sum(len(decoder.get_frames_at(batch).data) for batch in batches)


def vop(path: str, decode: DecodeRule = DecodeRule.EXACT) -> int:
    """Read 12 frames of each window of 10 seconds as `vop encode` does, resized to 224 pixels."""
    spec = FrameSpec(Sampling("uniform", NUM_FRAMES), 224, decode=decode)
    *windows, _ = WindowRule().windows(stated_duration(path) or 0.0)  # without the row of the whole video
    return sum(len(sampled.frames) for sampled in read_windows(path, windows, spec))


READERS: dict[str, Callable[[str], int]] = {
    "PyAV sequential": pyav_sequential,
    "cv2 sequential": cv2_sequential,
    "torchcodec": torchcodec_batches,
    "vop": vop,
    "vop --decode keyframes": lambda path: vop(path, DecodeRule.KEYFRAMES),
}


def measure_decoding(folder: Path, minutes: int) -> str:
    """Time each reader once on one core: an hour averages over the noise of the machine."""
    path, cores = str(make_video(folder, minutes)), os.sched_getaffinity(0)
    short = str(make_video(folder, 2))
    os.sched_setaffinity(0, {min(cores)})
    seconds, counts, missing = {}, {}, []
    for name, reader in READERS.items():
        try:
            reader(short)  # imports, and warms the caches
        except (ImportError, RuntimeError, OSError):
            missing.append(name)
            continue
        start = time.process_time()
        counts[name] = reader(path)
        seconds[name] = time.process_time() - start
        print(f"{name}: {seconds[name]:.1f} s", file=sys.stderr)
    os.sched_setaffinity(0, cores)
    best = min(taken for name, taken in seconds.items() if not name.startswith("vop"))
    rows = [
        [name, str(counts[name]), f"{taken:.1f}", f"{minutes * 60 / taken:.0f}x", f"{best / taken:.2f}"]
        for name, taken in seconds.items()
    ]
    note = f" Not installed or not working: {', '.join(missing)}." if missing else ""
    return (
        f"### Decoding\n\n{minutes} minutes of 720p h264 at 30 frames per second, GOP 250, of which "
        "1.2 frames per second are taken; seconds of processor time on one core. vop also resizes the frames "
        f"to 224 pixels.{note}\n\n"
        + markdown_table(["", "frames", "seconds", "real time", "best peer's time / own"], rows)
    )


READ = """
import re, sys
from pathlib import Path
from vopcli.config.choices import DecodeRule
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import FrameSpec, read_windows, stated_duration
from vopcli.video.windows import WindowRule
path, decode, sampling = sys.argv[1:]
spec = FrameSpec(parse_sampling(sampling), 224, decode=DecodeRule(decode))
for _ in read_windows(path, WindowRule().windows(stated_duration(path) or 0.0), spec):
    pass
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def measure_memory(folder: Path) -> str:
    """Peak memory of a process that reads 10 minutes, and of one that reads two hours."""
    rows = []
    for rule, sampling in product(DecodeRule, (f"uniform:{NUM_FRAMES}", "fps:1")):
        peaks = [peak_of(make_video(folder, minutes), rule, sampling) for minutes in (10, 120)]
        rows.append([rule.value, sampling, *(f"{peak:.0f}" for peak in peaks), f"{peaks[1] / peaks[0]:.2f}"])
    return (
        "### Memory\n\nPeak resident memory in MiB of a process that decodes the windows of a video and the "
        "whole video, Python and libraries included.\n\n"
        + markdown_table(["decode", "sampling", "10 minutes", "2 hours", "ratio"], rows)
    )


def peak_of(path: Path, rule: DecodeRule, sampling: str) -> float:
    """Return the peak resident memory in MiB of a process that reads a video."""
    command = [sys.executable, "-c", READ, str(path), rule.value, sampling]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / 1024


OPEN_CLIP = """
import sys, torch, cv2, numpy as np, open_clip
from pathlib import Path
from PIL import Image
model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=sys.argv[1])
model.eval()
rows = []
with torch.inference_mode():
    for path in sorted(Path(sys.argv[2]).iterdir()):
        capture = cv2.VideoCapture(str(path))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(np.linspace(0, count - 1, 12).astype(int).tolist())
        frames = []
        for number in range(count):
            capture.grab()
            if number in wanted:
                picture = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
                frames.append(preprocess(Image.fromarray(picture)))
        rows.append(model.encode_image(torch.stack(frames), normalize=True).mean(0))
np.save(sys.argv[3], torch.stack(rows).numpy())
"""


def measure_encoding(folder: Path, rounds: int) -> str:
    """Encode a folder of clips from a new process, with vop and with a script of open_clip and cv2."""
    clips, weights = folder / "clips", folder / "random.safetensors"
    if not clips.exists():
        make_video(folder, 2)
        clips.mkdir()
        cut = ["-c", "copy", "-f", "segment", "-segment_time", "8", "-reset_timestamps", "1"]
        subprocess.run([*FFMPEG, "-i", folder / "loop.mp4", *cut, clips / "%02d.mp4"], check=True)
    write_weights(weights)
    environment = {**os.environ, "VOP_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    del environment["OMP_NUM_THREADS"]  # each program chooses its threads

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    index, out = str(folder / "clips.h5"), str(folder / "clips.npy")
    vop_command = [sys.executable, "-m", "vopcli", "encode", str(clips), index, "--overwrite", "--quiet"]
    peer = "open_clip and cv2"
    candidates = {peer: run(sys.executable, "-c", OPEN_CLIP, str(weights), str(clips), out)}
    usual = choose_precision("auto", torch.device("cpu")).value  # bfloat16 takes minutes where it is not
    for precision in dict.fromkeys(["fp32", usual]):
        name = f"vop encode --precision {precision}"
        candidates[name] = run(*vop_command, "--weights", str(weights), "--precision", precision)
    seconds = medians_of_rounds(candidates, rounds=rounds)
    count = len([*clips.iterdir()])
    rows = [
        [name, f"{taken:.1f}", f"{count / taken:.2f}", f"{seconds[peer] / taken:.2f}"]
        for name, taken in seconds.items()
    ]
    return (
        f"### Encoding of a folder\n\n{count} clips of 720p h264 of 8 seconds, 12 frames each, random "
        f"ViT-B/32, from the start of the process to its end; medians of {rounds} rounds.\n\n"
        + markdown_table(["", "seconds", "videos/s", "times as fast"], rows)
    )


def write_weights(path: Path) -> None:
    """Write a random ViT-B/32, once."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support knows the shapes
    from tests.support.clip import openai_shape, random_state

    if not path.exists():
        metadata = {"format": "pt", "activation": "quick_gelu", "vision_heads": "12", "text_heads": "8"}
        write_safetensors_file(path, random_state(openai_shape("ViT-B/32")), metadata)


def add_films(index: Path, films: Sequence[int]) -> float:
    """Add films of an hour, random rows of 360 windows and of the whole film; return the seconds it took."""
    rng, length = np.random.default_rng(films[0]), 3600.0
    windows = WindowRule().windows(length)  # the whole film last
    new = [  # sizes differ, as those of real films: equal ones would be compared by their content
        NewVideo(
            "/films", f"{film:04}.mp4", film, 1, num_frames=NUM_FRAMES, window=window, is_part=window != WHOLE
        )
        for film in films
        for window in windows
    ]
    begin = time.perf_counter()
    seconds = 0.0
    with IndexWriter(index) as writer:
        writer.lay_out(new)
        for film in range(len(films)):
            seconds += time.perf_counter() - begin
            encoded = random_rows(rng, windows, film * len(windows), length)
            begin = time.perf_counter()
            writer.add(encoded)
    return seconds + time.perf_counter() - begin


def random_rows(
    rng: np.random.Generator, windows: Sequence[TimeWindow], first: int, length: float
) -> list[EncodedVideo]:
    """Return random embeddings of the windows of a film; ``first`` is the slot of the first one."""
    rows = rng.standard_normal((len(windows), NUM_FRAMES, WIDTH), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    means = rows.mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    places = (np.arange(NUM_FRAMES) + 0.5) / NUM_FRAMES
    encoded = []
    for number, window in enumerate(windows):
        start, end = (0.0, length) if window == WHOLE else (window.start_seconds, window.end_seconds)
        frames = rows[number].astype(np.float16)
        times = start + places * (end - start)
        encoded.append(EncodedVideo(first + number, means[number], frames, times, NUM_FRAMES, length))
    return encoded


def measure_search(folder: Path, rounds: int) -> str:
    """Build an index of 100 hours, search it from a new process and in an open one, and add one film."""
    weights, index, cache = folder / "random.safetensors", folder / "hours.h5", folder / "cache"
    write_weights(weights)
    found = read_weights(weights)
    fingerprint = found.fingerprint()
    keep_text_tower(found, fingerprint, cache, SilentProgress())
    recipe = {"sampling": f"uniform:{NUM_FRAMES}", "size": 224, "windows": "auto"}
    index.unlink(missing_ok=True)
    create_index(index, IndexMeta(str(weights), fingerprint, recipe, WIDTH))
    built = add_films(index, range(1, NUM_FILMS + 1))
    environment = {**os.environ, "VOP_CACHE": str(cache)}
    command = [sys.executable, "-m", "vopcli", "search", QUERY, "--index", str(index), "--json"]

    def ask() -> object:
        return subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    begin = time.perf_counter()
    ask()
    first = time.perf_counter() - begin
    os.environ["VOP_CACHE"] = str(cache)
    opened = open_index(index)
    seconds = medians_of_rounds(
        {"a new process": ask, "an open index": lambda: opened.search(QUERY)}, rounds=rounds
    )
    added = add_films(index, [NUM_FILMS + 1])
    size = index.stat().st_size / 2**20
    rows = [
        ["first search after a change: all checksums", f"{first:.2f}"],
        *([name, f"{taken:.3f}"] for name, taken in seconds.items()),
        ["writing 100 films, without decoding and model", f"{built:.2f}"],
        ["adding one more film (1 %)", f"{added:.3f}"],
    ]
    return (
        f"### Search in 100 hours\n\n{NUM_FILMS} films, {NUM_FILMS * WINDOWS:,} windows, {size:,.0f} MiB; "
        f"ten hits with ranges, random ViT-B/32 text tower; medians of {rounds} rounds.\n\n"
        + markdown_table(["", "seconds"], rows)
    )


def main() -> None:
    """Measure the chosen parts and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts: dict[str, Callable[[argparse.Namespace], str]] = {
        "decode": lambda given: measure_decoding(given.folder, given.minutes),
        "memory": lambda given: measure_memory(given.folder),
        "encode": lambda given: measure_encoding(given.folder, given.rounds),
        "search": lambda given: measure_search(given.folder, given.rounds),
    }
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vop-bench-long")
    parser.add_argument("--parts", nargs="+", choices=[*parts], default=[*parts])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    page = RESULTS / "long.md"
    former = page.read_text(encoding="utf-8").split("\n### ")[1:] if page.exists() else []
    measured = [parts[name](arguments) for name in arguments.parts]
    sections = {text.split("\n")[0]: text for text in (*(f"### {text}" for text in former), *measured)}
    write_results("long", "\n".join([f"# Long videos\n\n{machine()}.\n", *sections.values()]))


if __name__ == "__main__":
    main()
