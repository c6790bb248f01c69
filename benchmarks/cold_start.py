"""From the start of a process to its answer: vop against open_clip, and what importing costs.

    python benchmarks/cold_start.py [--rounds 7] [--folder DIR]

A random ViT-B/32 and an index of 10,000 videos are made once. Both programs answer the same query, and must
find the same ten videos; open_clip does what its README shows, on embeddings from a .npy file. Then they take
turns, and the medians are written to ``benchmarks/results/cold_start.md``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from side_by_side import machine, markdown_table, medians_of_rounds, write_results

from tests.support.clip import openai_shape, random_state
from vopcli.files.safetensors import write_safetensors_file
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import SilentProgress
from vopcli.search.text_tower import keep_text_tower
from vopcli.weights.reader import read_weights

NUM_VIDEOS, NUM_FRAMES, WIDTH = 10_000, 2, 512
QUERY = "a dog playing with its tail"
OPEN_CLIP = """
import sys
import numpy as np
import open_clip
import torch

model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=sys.argv[1]).eval()
tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
with torch.no_grad():
    query = model.encode_text(tokenizer([sys.argv[3]]), normalize=True)[0]
gallery = torch.from_numpy(np.load(sys.argv[2]))
for score, row in zip(*(gallery @ query).topk(10)):
    print(f"{score:.6f}\\t{row:05d}.mp4")
"""


def prepare(folder: Path) -> None:
    """Make weights, text tower, index, and the embeddings as a plain array."""
    weights = folder / "random.safetensors"
    write_safetensors_file(
        weights,
        random_state(openai_shape("ViT-B/32")),
        {"format": "pt", "activation": "quick_gelu", "vision_heads": "12", "text_heads": "8"},
    )
    found = read_weights(weights)
    fingerprint = found.fingerprint()
    keep_text_tower(found, fingerprint, folder / "cache", SilentProgress())
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((NUM_VIDEOS, WIDTH), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(folder / "gallery.npy", rows)
    index = folder / "idx.h5"
    create_index(index, IndexMeta(str(weights), fingerprint, {"sampling": "uniform:2", "size": 224}, WIDTH))
    names = [f"{number:05d}.mp4" for number in range(NUM_VIDEOS)]
    with IndexWriter(index) as writer:
        writer.lay_out([NewVideo("/videos", name, 1, 1, num_frames=NUM_FRAMES) for name in names])
        writer.add(
            [
                EncodedVideo(
                    i, row, row[None].repeat(NUM_FRAMES, 0).astype(np.float16), np.arange(2.0), 2, 2.0
                )
                for i, row in enumerate(rows)
            ]
        )


def command(*words: str, cache: Path) -> Callable[[], str]:
    """Return what runs a command and gives back its output."""
    environment = {**os.environ, "VOP_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return lambda: subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout


def check_agreement(ours: str, theirs: str) -> None:
    """Both find the same videos, with scores that are equal to 1e-4.

    Raises:
        SystemExit: they do not.
    """
    mine = [(line.split("\t")[2].removeprefix("/videos/"), line.split("\t")[0]) for line in ours.splitlines()]
    other = [(line.split("\t")[1], line.split("\t")[0]) for line in theirs.splitlines()]
    same = [a[0] == b[0] and abs(float(a[1]) - float(b[1])) < 1e-4 for a, b in zip(mine, other, strict=True)]
    if len(same) != 10 or not all(same):
        raise SystemExit(f"vop finds {mine}, open_clip {other}")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        prepare(folder)
        python, cache = sys.executable, folder / "cache"
        program = [str(Path(python).with_name("vop"))]
        if not Path(program[0]).exists():
            program = [python, "-m", "vopcli"]
        search = command(*program, "search", QUERY, "--index", str(folder / "idx.h5"), cache=cache)
        peer = command(
            python,
            "-c",
            OPEN_CLIP,
            str(folder / "random.safetensors"),
            str(folder / "gallery.npy"),
            QUERY,
            cache=cache,
        )
        check_agreement(search(), peer())

        def search_unverified() -> str:
            shutil.rmtree(cache / "verified")
            return search()

        candidates = {
            "`vop --help`": command(*program, "--help", cache=cache),
            "`vop search`": search,
            "`vop search`, all embeddings compared with their checksums": search_unverified,
            "open_clip": peer,
            "`import torch`": command(python, "-c", "import torch", cache=cache),
            "`import numpy, h5py`": command(python, "-c", "import numpy, h5py", cache=cache),
            "`import typer`": command(python, "-c", "import typer", cache=cache),
            "Python alone": command(python, "-c", "pass", cache=cache),
        }
        medians = medians_of_rounds(candidates, rounds=arguments.rounds)
    rows = [[name, f"{seconds:.3f}"] for name, seconds in medians.items()]
    table = markdown_table(["", "seconds"], rows)
    ratio = medians["open_clip"] / medians["`vop search`"]
    write_results(
        "cold_start",
        f"# Cold start\n\n{machine()}; from start to end of a process, a ViT-B/32, an index of "
        f"{NUM_VIDEOS:,} videos, warm file cache, medians of {arguments.rounds} rounds in turn.\n\n"
        f"{table}\nopen_clip takes {ratio:.1f} times as long as `vop search`; "
        "both find the same ten videos.\n",
    )


if __name__ == "__main__":
    main()
