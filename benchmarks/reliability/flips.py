"""Flip random bits of each kind of file: does a command give another answer without an error?

Half of the flips are anywhere, half in bytes that are not zero. After each flip the file is used as the
commands use it. A flip is reported if one of them ends with an error, identical if all give the answer of the
whole file, and silent if one gives another answer.
Run: python benchmarks/reliability/flips.py [--flips 500] [--seed 0] [--only index]
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.campaign import parser_of, print_table
from reliability.kills import make_cases, run_vop

from tests.support.training import SIDE
from vopcli.errors import DataError, VopError
from vopcli.frames.store import FrameStore
from vopcli.index.reader import VideoIndex
from vopcli.methods.adapter_file import read_adapter
from vopcli.methods.model import VideoTextModel, trained_tensors
from vopcli.search.export import export_embeddings
from vopcli.training.checkpoint import load_checkpoint
from vopcli.training.loop import CHECKPOINT_NAME
from vopcli.weights.build import build_clip
from vopcli.weights.reader import read_weights

DEVICE = ("--device", "cpu")
WEIGHTS = ("--weights", "tiny.safetensors")
RUN = Path("runs/VoP-seed0")


@dataclass(frozen=True)
class Kind:
    """A kind of file; each use returns an answer, or raises an error."""

    name: str
    path: Path
    uses: Sequence[Callable[[], object]]


@dataclass
class Counts:
    """Outcomes of the flips of a file; ``crash`` counts tracebacks and wrong exit codes."""

    flips: int = 0
    reported: int = 0
    identical: int = 0
    silent: int = 0
    crash: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether no flip gave another answer or a crash."""
        return not self.silent and not self.crash


def make_kinds(folder: Path) -> list[Kind]:
    """Make one file of each kind in ``folder``, the current one."""
    make_cases(folder)
    Path("bank.txt").write_text("a red thing\na blue thing\nnumber 3\nsomething that moves\n")
    frames = ("--size", str(SIDE), "--num-frames", "3", "--workers", "1")
    answer("extract-frames", "data/videos", "jpeg.h5", *frames, "--codec", "jpeg")
    answer("extract-frames", "data/videos", "raw.h5", *frames)
    answer("train", "--variant", "VoP", "--epochs", "2", *DEVICE)
    encode = ("encode", "out.h5", "index.h5", *WEIGHTS, *DEVICE, "--precision", "fp32")
    answer(*encode, "--adapter", str(RUN), "--querybank", "bank.txt")
    answer("eval", "zero-shot", "--save-sims", "scores.h5", *DEVICE)
    search = ("search", "a red thing", "--index", "index.h5", *WEIGHTS, "--json")
    measure = ("eval", "zero-shot", "--json", *DEVICE, "--frames")
    return [
        Kind(
            "index with adapter and query bank",
            Path("index.h5"),
            (
                lambda: answer(*search),
                lambda: answer(*search, "--norm", "qb"),
                lambda: answer(*search, "--pooling", "max"),
                lambda: content_of_index(Path("index.h5")),
            ),
        ),
        *(
            Kind(
                f"frame store, {codec}",
                path,
                (lambda path=path: content_of_store(path), lambda path=path: answer(*measure, str(path))),
            )
            for codec, path in (("raw", Path("raw.h5")), ("jpeg", Path("jpeg.h5")))
        ),
        Kind("saved scores", Path("scores.h5"), (lambda: answer("rescore", "scores.h5", "--json"),)),
        Kind(
            "adapter",
            RUN / "adapter.safetensors",
            (lambda: content_of_adapter(RUN), lambda: answer("eval", str(RUN), "--json", *DEVICE)),
        ),
        Kind("checkpoint", RUN / CHECKPOINT_NAME, (checkpoint_reader(RUN / CHECKPOINT_NAME),)),
    ]


def answer(*arguments: str) -> str:
    """Run ``vop`` and return its standard output.

    Raises:
        DataError: it ended with one error and exit code 3.
        RuntimeError: it ended in any other way.
    """
    code, printed, said = run_vop(arguments)
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    if code == 3 and len(errors) == 1 and "Traceback" not in said:
        raise DataError(errors[0])
    if code:
        raise RuntimeError(f"{arguments} ended with {code}: {said}")
    return printed


def content_of_index(path: Path) -> object:
    """Read all of an index: the exported embeddings, and frames, times and record of each video."""
    index = VideoIndex(path)
    export_embeddings(index, Path("out.npy"))
    rest = [(video, *(array.tobytes() for array in index.frames_of(video.row))) for video in index.videos()]
    return Path("out.npy").read_bytes(), rest, index.meta


def content_of_store(path: Path) -> object:
    """Read all frames of a store, and the record of each video."""
    store = FrameStore.open(path)
    videos = [(video, video.seconds.tolist(), store.read(video).tobytes()) for video in store.videos]
    return videos, store.failures, store.recipe


def content_of_adapter(path: Path) -> object:
    """Read all fields of an adapter."""
    adapter = read_adapter(path)
    tensors = {name: (tensor.shape, tensor.tobytes()) for name, tensor in adapter.tensors.items()}
    return {**vars(adapter), "tensors": tensors}


def checkpoint_reader(path: Path) -> Callable[[], object]:
    """Return a function that loads a checkpoint into a new model, as ``vop train --resume`` does."""
    document = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  (tensors only)
    settings = document["settings"]
    clip = build_clip(read_weights(Path("tiny.safetensors")), device="cpu", dtype=torch.float32)
    adapter = read_adapter(path.parent)

    def read() -> object:
        model = VideoTextModel(clip, adapter.tuning, num_frames=adapter.num_frames)
        state = load_checkpoint(path, settings, model)
        return plain([vars(state), trained_tensors(model)])

    return read


def plain(value: object) -> object:
    """Return a copy that can be compared: tensors are replaced by their shapes and bytes."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def flip_bits(kind: Kind, count: int, seed: int) -> Counts:
    """Flip ``count`` bits of a file, one at a time, and restore it."""
    chance, counts = random.Random(seed), Counts()  # noqa: S311
    whole = kind.path.read_bytes()
    filled = np.flatnonzero(np.frombuffer(whole, np.uint8))
    expected = [use() for use in kind.uses]
    stamp = kind.path.stat().st_mtime_ns
    for number in range(count):
        place = int(chance.choice(filled)) if number % 2 else chance.randrange(len(whole))
        bit = chance.randrange(8)
        changed = bytearray(whole)
        changed[place] ^= 1 << bit
        kind.path.write_bytes(changed)
        os.utime(kind.path, ns=(stamp, stamp + number + 1))  # two writes may be within one tick of the clock
        outcomes = {outcome(use, right) for use, right in zip(kind.uses, expected, strict=True)}
        worst = next(name for name in ("crash", "silent", "reported", "identical") if name in outcomes)
        setattr(counts, worst, getattr(counts, worst) + 1)
        counts.flips += 1
        if worst in {"crash", "silent"}:
            print(f"{kind.name}: bit {bit} of byte {place} of {len(whole)}: {worst}", file=sys.stderr)
    kind.path.write_bytes(whole)
    return counts


def outcome(use: Callable[[], object], expected: object) -> str:
    """Use a file; return "reported", "identical", "silent" or "crash"."""
    try:
        found = use()
    except VopError:
        return "reported"
    except Exception as error:  # noqa: BLE001  what would end the process with a traceback
        print(repr(error)[-1000:], file=sys.stderr)
        return "crash"
    return "identical" if found == expected else "silent"


def main() -> None:
    """Print a table of all kinds of files; exit with 1 if a flip was silent."""
    options = parser_of(__doc__, "flips", 500, "flips of each file").parse_args()
    print_table(
        ("file", "bytes", "flips", "reported", "identical", "silent", "crash"),
        make_kinds,
        lambda kind: flip_bits(kind, options.flips, options.seed),
        only=options.only,
        label=lambda kind: f"{kind.name} | {kind.path.stat().st_size:,}",
    )


if __name__ == "__main__":
    main()
