"""Measure `vop serve` with 1 and 8 clients that search for a minute, and write the table.

Run: python benchmarks/serve.py INDEX.h5 [SECONDS]. The index may be that of `benchmarks/long.py`. Memory is
that of the server without the pages of the index, which the system drops when it needs the space.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from side_by_side import machine, markdown_table, write_results

from vopcli.index.reader import VideoIndex

WORDS = ("dog", "beach", "city", "night", "car", "red", "runs", "jumps", "woman", "child", "water", "snow")


def query(draw: random.Random) -> str:
    """Return an address that was not asked for before, most likely."""
    return "/api/search?q=" + "+".join(draw.choices(WORDS, k=5))


def search(address: str, until: float, seed: int, seconds: list[float]) -> None:
    """Search until a time, with a new query each time; note how long each answer took."""
    draw = random.Random(seed)  # noqa: S311
    while time.monotonic() < until:
        began = time.monotonic()
        with urllib.request.urlopen(address + query(draw)) as answer:  # noqa: S310  (our own server)
            assert json.load(answer)["hits"]
        seconds.append(time.monotonic() - began)


def own_megabytes(pid: int) -> float:
    """Return the memory of a process that is not of mapped files."""
    found = re.search(r"^RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.M)
    return int(found[1]) / 1024 if found else 0.0


def measure(address: str, pid: int, num_clients: int, length: float) -> list[str]:
    """Let clients search for some seconds; return a row of the table."""
    seconds: list[float] = []
    until = time.monotonic() + length
    clients = [
        threading.Thread(target=search, args=(address, until, seed, seconds)) for seed in range(num_clients)
    ]
    for client in clients:
        client.start()
    memory = []
    while time.monotonic() < until:
        time.sleep(length / 6)
        memory.append(own_megabytes(pid))
    for client in clients:
        client.join()
    cuts = [1000 * cut for cut in statistics.quantiles(seconds, n=20)]
    figures = [num_clients, len(seconds), cuts[9], cuts[18], 1000 * max(seconds), memory[0], memory[-1]]
    return [f"{figure:.0f}" for figure in figures]


def main(index: Path, length: float) -> None:
    """Run the server and write the table."""
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "vopcli", "serve", str(index), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        address = ""
        while not address:
            line = server.stderr.readline()
            assert line, "the server has ended"
            address = "".join(re.findall(r"http://[\d.:]+", line))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        rows = [measure(address, server.pid, num_clients, length) for num_clients in (1, 8)]
        server.terminate()
    columns = ("clients", "searches", "median", "p95", "maximum", "memory, start", "end")
    videos = VideoIndex(index)
    num_windows = len(list(videos.rows())) - len(videos)
    write_results(
        "serve",
        "# Clients of `vop serve`\n\n"
        f"{machine()}; other programs had a load of {load:.1f}. Searches of an index of {num_windows:,} "
        f"windows and E = {videos.meta.embed_dim} for {length:.0f} seconds, each client with a new query as "
        "soon as it has its answer. Times in ms; memory of the server in MB after a sixth of the "
        "time and at the end, without the pages of the index.\n\n" + markdown_table(columns, rows),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60)
