"""Time of a training step of one process against two under torchrun (gloo), each with one core.

    python benchmarks/ranks.py [--steps 4] [--frames 4] [--batch 8]

VoP on ViT-B/32 shapes with random weights, on videos of `vop demo`. Both train the same batches, and the
losses are compared. Three minutes on two idle cores. Writes ``benchmarks/results/ranks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import machine, markdown_table, write_results

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support has the shapes

from tests.support.clip import openai_shape
from tests.support.models import write_model

VOP = [sys.executable, "-m", "vopcli"]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "vopcli",
]


def prepare(folder: Path, *, steps: int, frames: int, batch: int) -> None:
    """Write a frame store of as many videos as an epoch of the steps takes, their captions, and weights."""
    call([*VOP, "demo", "demo", "--quiet"], folder)
    write_model(folder / "random.safetensors", shape=openai_shape("ViT-B/32"))
    lines = (folder / "demo" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    chosen: dict[str, str] = {}
    for line in lines:
        record = json.loads(line)
        if record["split"] == "train":
            chosen.setdefault(record["video"], line)
    kept = dict(list(chosen.items())[: round(steps * batch / 0.9)])  # a tenth is for validation
    (folder / "captions.jsonl").write_text("\n".join(kept.values()) + "\n", encoding="utf-8")
    names = "".join(f"{name}\n" for name in kept)
    (folder / "demo" / "videos" / "chosen.txt").write_text(names, encoding="utf-8")
    call(
        [*VOP, "extract-frames", "demo/videos/chosen.txt", "out.h5", "--num-frames", str(frames), "--quiet"],
        folder,
    )


def call(command: list[str], folder: Path) -> None:
    """Run a command with one thread per process."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        command, cwd=folder, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    )


def measure(program: list[str], folder: Path, name: str, batch: int) -> tuple[float, list[float]]:
    """Train two epochs; return the videos per second of the second, and the losses."""
    options = ["--variant", "P+F", "--epochs", "2", "--batch-size", str(batch), "--seed", "0", "--quiet"]
    settings = {
        "backbone.weights": "random.safetensors",
        "data.frames": "out.h5",
        "training.val_share": "0.1",
    }
    settings |= {"data.captions": "captions.jsonl", "training.output": name}
    assigned = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    call([*program, "train", *options, *assigned], folder)
    [log] = (folder / name).glob("*/metrics.jsonl")
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    trained = [one for one in found if one["kind"] == "train"]
    rates = [one["videos_per_second"] for one in trained if one["epoch"] == 1]
    return statistics.mean(rates), [one["loss"] for one in trained]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, steps=options.steps, frames=options.frames, batch=options.batch)
        alone, expected = measure(VOP, folder, "one", options.batch)
        together, losses = measure(TORCHRUN, folder, "two", options.batch)
    worst = max(abs(one - other) for one, other in zip(expected, losses, strict=True))
    for name, rate in (("one", alone), ("two", together)):
        rows.append([name, f"{options.batch / rate:.2f}", f"{rate:.2f}", f"{rate / alone:.2f}"])
    text = f"""# Training in two processes

{machine()}; load average {os.getloadavg()[0]:.1f}. ViT-B/32 shapes, P+F, batches of {options.batch} videos of
{options.frames} frames, one thread per process, gloo on one machine.

{markdown_table(["processes", "step, s", "videos/s", "of one"], rows)}
The largest difference of a loss is {worst:.2g}.
"""
    write_results("ranks", text)


if __name__ == "__main__":
    main()
