"""Decode on Ray against the processes of one machine, and two workers against one.

    python benchmarks/cluster.py [--rounds 3] [--videos 6] [--folder DIR]

Each video takes about a second to decode: 12 frames of 12 seconds of 720p h264. Workers have started when the
clock does; the candidates take turns. Writes ``benchmarks/results/cluster.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pattern import make_pattern
from side_by_side import machine, markdown_table, write_results

from vopcli.config.schema import DataConfig
from vopcli.errors import VideoError
from vopcli.progress import SilentProgress
from vopcli.video.pool import DecodeJob, Workers, decode_videos
from vopcli.video.ray_pool import RayPool, opened_workers
from vopcli.video.sampling import Sampling
from vopcli.video.video import FrameSpec

SPEC = FrameSpec(Sampling("uniform", 12), 224)


def measure(path: Path, workers: Workers, count: int, *, videos: int) -> tuple[float, float]:
    """Return videos per second, and processor seconds per video, once all of ``count`` workers have begun."""
    jobs = (DecodeJob(key, os.fspath(path)) for key in range((videos + 1) * count))
    taken = consume(decode_videos(jobs, SPEC, workers=workers))
    for _ in range(count):
        next(taken)
    began, spent = time.perf_counter(), processor_seconds()
    done = sum(1 for _ in taken)
    return done / (time.perf_counter() - began), (processor_seconds() - spent) / done


def processor_seconds() -> float:
    """Return the time of this process and all below it, the daemons of Ray and ended processes included."""
    parents, ticks = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(file.parent.name)] = int(fields[1])
            ticks[int(file.parent.name)] = sum(map(int, fields[11:15]))
    below = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(ticks.get(process, 0) for process in below) / os.sysconf("SC_CLK_TCK")


def consume(results: Iterator[tuple[DecodeJob, object]]) -> Iterator[DecodeJob]:
    """Yield the jobs of results.

    Raises:
        VideoError: one failed.
    """
    for job, result in results:
        if isinstance(result, VideoError):
            raise result
        yield job


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=6, help="per worker")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vop-bench-cluster")
    arguments = parser.parse_args()
    path = make_pattern(arguments.folder / "12-seconds.mp4", seconds=12)
    began = time.perf_counter()
    with opened_workers(DataConfig(ray="local", workers=2), SilentProgress()):
        seconds = time.perf_counter() - began
        found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        loads = []
        for _ in range(arguments.rounds):
            for name, count in (("processes", 2), ("Ray", 2), ("Ray", 1), ("processes", 1)):
                with contextlib.ExitStack() as stack:
                    workers: Workers = count
                    if name == "Ray":  # actors of its own, which give the cores back
                        workers = stack.enter_context(contextlib.closing(RayPool(count, SilentProgress())))
                    found[name, count].append(measure(path, workers, count, videos=arguments.videos))
                loads.append(os.getloadavg()[0])
                print(name, count, found[name, count][-1], f"load {loads[-1]:.1f}", flush=True)
    write_results("cluster", report(found, seconds, loads))


def report(
    found: Mapping[tuple[str, int], Sequence[tuple[float, float]]], seconds: float, loads: Sequence[float]
) -> str:
    """Write the table in Markdown."""
    middle = {
        key: [statistics.median(values) for values in zip(*pairs, strict=True)]
        for key, pairs in found.items()
    }
    rows = []
    for name in ("processes", "Ray"):
        (slow, _), (fast, spent) = middle[name, 1], middle[name, 2]
        more = spent / middle["processes", 2][1]
        rows.append([name, f"{slow:.2f}", f"{fast:.2f}", f"{fast / slow:.2f}", f"{spent:.2f}", f"{more:.2f}"])
    header = [
        "workers",
        "one: videos/s",
        "two: videos/s",
        "two / one",
        "two: processor s/video",
        "of processes",
    ]
    return f"""# Decoding on Ray

{machine()}. Medians of {len(loads) // 4} rounds in turn; each video is 12 frames of 12 seconds of 720p
h264, about a second of one core. Workers have started when the clock does. Processor time is that of all
processes, the daemons of Ray included. Load average of the machine: {min(loads):.1f} to {max(loads):.1f};
where it is well above two, other programs had most of the cores, and the rates and their ratio say nothing.

{markdown_table(header, rows)}
`--ray local` took {seconds:.1f} s to start.
"""


if __name__ == "__main__":
    main()
