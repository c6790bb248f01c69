"""Exact search for texts among videos: vop against NumPy, torch and faiss Flat.

    python benchmarks/search.py [--rounds 7] [--largest 1000000]

Random L2-normalised vectors of 512 float32 numbers, the ten best wanted. The galleries lie in memory; vop's
is a mapped file, as an index is. All must find the same rows, up to the rounding of float32. Then they take
turns, and the medians are written to ``benchmarks/results/search.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import machine, markdown_table, medians_of_rounds, write_results

from vopcli.resources import usable_cores
from vopcli.search.exact import Part, search_exact

WIDTH, TOP = 512, 10
BLOCK = 16384
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


def make_gallery(path: Path, count: int) -> Floats:
    """Write random unit rows and map them."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for begin in range(0, count, BLOCK):
            rows = rng.standard_normal((min(BLOCK, count - begin), WIDTH), dtype=np.float32)
            file.write((rows / np.linalg.norm(rows, axis=1, keepdims=True)).tobytes())
    return np.memmap(path, np.float32, "r", shape=(count, WIDTH)).view(np.ndarray)


def vop(gallery: Floats) -> Callable[[Floats], Rows]:
    """Search as `vop search` does."""
    part = Part(gallery, np.ones(len(gallery), np.bool_))

    def search(queries: Floats) -> Rows:
        return np.stack([found.rows for found in search_exact([part], queries, top=TOP, path_of=str)])

    return search


def numpy_blocks(gallery: Floats) -> Callable[[Floats], Rows]:
    """Matrix product by blocks, argpartition within each, then within what is left."""

    def search(queries: Floats) -> Rows:
        rows, scores = [], []
        step = BLOCK if len(queries) > 1 else len(gallery)
        for begin in range(0, len(gallery), step):
            block = queries @ gallery[begin : begin + step].T
            best = np.argpartition(block, -TOP, axis=1)[:, -TOP:]
            rows.append(best + begin)
            scores.append(np.take_along_axis(block, best, axis=1))
        all_rows, all_scores = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
        return np.take_along_axis(all_rows, np.argsort(-all_scores, axis=1)[:, :TOP], axis=1)

    return search


def torch_blocks(gallery: Floats) -> Callable[[Floats], Rows]:
    """Matrix product by blocks and topk."""
    tensor = torch.from_numpy(gallery.copy())

    def search(queries: Floats) -> Rows:
        query = torch.from_numpy(queries)
        if len(queries) == 1:
            return (tensor @ query[0]).topk(TOP).indices[None].numpy()
        rows, scores = [], []
        for begin in range(0, len(tensor), BLOCK):
            best = (query @ tensor[begin : begin + BLOCK].T).topk(TOP, dim=1)
            rows.append(best.indices + begin)
            scores.append(best.values)
        order = torch.cat(scores, 1).topk(TOP, dim=1).indices
        return torch.cat(rows, 1).gather(1, order).numpy()

    return search


def faiss_flat(gallery: Floats) -> Callable[[Floats], Rows]:
    """Search the exact index of faiss."""
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    index.add(gallery)
    return lambda queries: index.search(queries, TOP)[1]


PEERS = {"vop": vop, "numpy": numpy_blocks, "torch": torch_blocks, "faiss Flat": faiss_flat}


def check_agreement(gallery: Floats, queries: Floats, answers: dict[str, Rows]) -> None:
    """All find the same rows in the same order, up to float32's rounding.

    Raises:
        SystemExit: they do not.
    """
    for name, rows in answers.items():
        for query, ours, theirs in zip(queries, answers["vop"], rows, strict=True):
            mine = gallery[ours].astype(np.float64) @ query
            other = gallery[theirs].astype(np.float64) @ query
            if np.abs(mine - other).max() > 1e-6:
                raise SystemExit(f"{name} finds {theirs.tolist()}, vop {ours.tolist()}")


def bandwidth(gallery: Floats) -> Callable[[], object]:
    """Read the whole gallery once, on all cores."""
    parts = np.array_split(gallery.reshape(-1), usable_cores())
    pool = ThreadPoolExecutor(len(parts))
    return lambda: list(pool.map(np.max, parts))


def measure(folder: Path, count: int, num_queries: int, rounds: int) -> tuple[dict[str, float], float]:
    """Return the median seconds of each, and those of reading the gallery once."""
    gallery = make_gallery(folder / "gallery.f32", count)
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((num_queries, WIDTH), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    searches = {name: make(gallery) for name, make in PEERS.items()}
    check_agreement(gallery, queries, {name: search(queries) for name, search in searches.items()})
    candidates: dict[str, Callable[[], object]] = {
        name: (lambda search=search: search(queries)) for name, search in searches.items()
    }
    tensor = torch.from_numpy(gallery.copy())
    candidates |= {"read numpy": bandwidth(gallery), "read torch": tensor.sum}
    medians = medians_of_rounds(candidates, rounds=rounds)
    return medians, min(medians["read numpy"], medians["read torch"])


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--largest", type=int, default=1_000_000)
    arguments = parser.parse_args()
    cases = [(10_000, 1), (100_000, 1), (1_000_000, 1), (100_000, 10), (100_000, 1_000)]
    rows = []
    for count, num_queries in cases:
        if count > arguments.largest:
            continue
        with tempfile.TemporaryDirectory() as folder:
            medians, reading = measure(Path(folder), count, num_queries, arguments.rounds)
        ours = medians["vop"]
        rows.append(
            [
                f"{num_queries:,} in {count:,}",
                *(f"{medians[name] * 1e3:.2f}" for name in PEERS),
                f"{reading * 1e3:.2f}",
                f"{ours / reading:.2f}" if num_queries == 1 else "",
                f"{medians['faiss Flat'] / ours:.2f}",
            ]
        )
        print(rows[-1])
    header = ["queries in vectors", *PEERS, "reading once", "vop / reading", "faiss / vop"]
    text = (
        f"# Exact search\n\n{machine()}; {WIDTH} float32 numbers a vector, the {TOP} best, milliseconds, "
        f"medians of {arguments.rounds} rounds in turn.\n\n{markdown_table(header, rows)}\n"
        "Reading once is the least that one query can take: the time in which all cores together read the "
        "vectors.\nAll four find the same; vop computes the scores of its answer again in float64, so "
        "that they depend on nothing but the two vectors.\n"
    )
    write_results("search", text)


if __name__ == "__main__":
    main()
