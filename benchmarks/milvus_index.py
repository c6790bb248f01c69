"""An index in Milvus against its HDF5 file: rate of the copy, latency of a search, and equal hits.

    python benchmarks/milvus_index.py milvus://127.0.0.1:19530/bench [--rows 100000] [--ann flat hnsw]

Windows of films of 100 windows, of random L2-normalised embeddings of 512 numbers and four frames each. The
results are written to ``benchmarks/results/milvus_index.md``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from side_by_side import machine, markdown_table, write_results

from vopcli.config.choices import Ann
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import SilentProgress
from vopcli.search.search import Index
from vopcli.search.stores import Copied, CopyRules, store_of
from vopcli.video.video_file import TimeWindow

WIDTH, FRAMES, WINDOWS, TOP = 512, 4, 100, 10
SECONDS = 10.0  # of a window
Floats = NDArray[np.float32]


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    """Return random unit vectors."""
    rows = rng.standard_normal((*shape, WIDTH), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def make_index(path: Path, num_rows: int) -> None:
    """Write an index of films of 100 windows, each film with a row of its own as the last of its rows."""
    rng = np.random.default_rng(0)
    create_index(path, IndexMeta("random", "0" * 64, {}, WIDTH))
    new = []
    for row in range(num_rows):
        film, number = divmod(row, WINDOWS)
        is_part = number < WINDOWS - 1
        span = TimeWindow(number * SECONDS, (number + 1) * SECONDS) if is_part else TimeWindow(0, np.inf)
        new.append(
            NewVideo("/films", f"{film:05d}.mp4", 1, 1, num_frames=FRAMES, window=span, is_part=is_part)
        )
    with IndexWriter(path) as writer:
        writer.lay_out(new)
        for begin in range(0, num_rows, 4096):
            slots = range(begin, min(begin + 4096, num_rows))
            frames = unit(rng, len(slots), FRAMES)
            means = frames.mean(axis=1)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            starts = (np.arange(FRAMES) + 0.5) * SECONDS / FRAMES
            writer.add(
                [
                    EncodedVideo(
                        slot, mean, part.astype(np.float16), starts + slot % WINDOWS * SECONDS, FRAMES, 1000.0
                    )
                    for slot, mean, part in zip(slots, means, frames, strict=True)
                ]
            )


def copy(source: Path, name: Path, rules: CopyRules) -> tuple[Copied, float]:
    """Copy an index to Milvus; return its counts and the seconds."""
    store = store_of(name)
    assert store is not None
    begin = time.perf_counter()
    copied = store.write(VideoIndex(source), rules, SilentProgress())
    return copied, time.perf_counter() - begin


def measure(
    index: Index, queries: Floats, pooling: str | None
) -> tuple[list[list[tuple[str, float]]], float]:
    """Return path and score of each hit, and the median milliseconds of a query."""
    answers, times = [], []
    for query in queries:
        begin = time.perf_counter()
        hits = index.search(query, top=TOP, pooling=pooling)
        times.append(time.perf_counter() - begin)
        answers.append([(f"{hit.path}@{hit.start:.3f}", hit.score) for hit in hits])
    return answers, 1000 * statistics.median(times[1:])


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="an index in Milvus, which is overwritten")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--ann", nargs="+", type=Ann, default=list(Ann), help="flat first")
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    name = Path(options.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "i.h5"
        make_index(path, options.rows)
        queries = unit(np.random.default_rng(1), options.rounds + 1)
        rows, expected = [], {}
        for kind in ("HDF5", *options.ann):
            copied, seconds = (
                (None, 0.0)
                if kind == "HDF5"
                else copy(path, name, CopyRules(overwrite=kind == Ann.FLAT, ann=Ann(kind)))
            )
            index = Index(path if copied is None else name)
            line = [f"Milvus {kind.value}" if isinstance(kind, Ann) else kind]
            by_mean: list[list[tuple[str, float]]] = []
            for pooling in ("mean", None):
                answers, milliseconds = measure(index, queries, pooling)
                expected.setdefault(pooling, answers)
                by_mean = answers if pooling else by_mean
                equal = sum(answer == right for answer, right in zip(answers, expected[pooling], strict=True))
                line += [f"{milliseconds:.1f}", f"{equal / len(answers):.2f}"]
            rate = f"{options.rows / seconds:,.0f}" if copied and copied.num_added else ""
            shared = [
                len(set(found) & set(right)) for found, right in zip(by_mean, expected["mean"], strict=True)
            ]
            recall = f"{sum(shared) / sum(map(len, expected['mean'])):.3f}"
            rows.append([*line, recall, rate, f"{seconds:,.0f}" if copied else ""])
            print(rows[-1], flush=True)
        _, seconds = copy(path, name, CopyRules(ann=Ann.FLAT))
    names = [
        "index",
        "mean, ms",
        "equal answers",
        "best match, ms",
        "equal answers",
        "hits found",
        "rows/s copied",
        "copied or rebuilt, s",
    ]
    text = f"""# An index in Milvus

{machine()}; {options.rows:,} windows of {FRAMES} frames, {WIDTH} numbers each, the {TOP} best videos,
medians of {options.rounds} queries one by one. {options.note}

{markdown_table(names, rows)}
An answer is equal if its hits, their scores, times and order are those of the HDF5 index; hits
found are those of the mean. Random vectors are the hardest case of an approximate index. A rebuild also
compares all rows: {seconds:.0f} s to return to the exact index.
"""
    write_results("milvus_index", text)


if __name__ == "__main__":
    main()
