"""Kill `--overwrite` of encode, extract-frames and train at random moments: is a result lost?

A run is killed at a random one of its file operations on the result, or a few milliseconds after it. Then the
result must be the old one to the byte, or the new one; and the same command, run again, must complete it and
leave no temporary file. Run: python benchmarks/reliability/kills.py [--runs 30] [--seed 0]
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests.support makes the videos and the model
sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.campaign import parser_of, print_table

from vopcli.cli.app import app
from vopcli.frames.store import FrameStore
from vopcli.index.check import verify_index
from vopcli.index.reader import VideoIndex
from vopcli.methods.adapter_file import read_adapter
from vopcli.progress import SilentProgress

REPOSITORY = Path(__file__).parents[2]
Contents = dict[str, NDArray[np.generic]]
OPERATIONS = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.truncate",
    "shutil.rmtree",
}

# Counts the operations whose path contains a name; kills the process at one of them, or prints their number.
DISTURBED = f"""
import os, signal, sys, threading
name, number, delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
count = 0
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def watch(event, arguments):
    global count
    if event in {OPERATIONS!r} and isinstance(arguments[0], (str, bytes, os.PathLike)):
        if name in os.fsdecode(arguments[0]):
            count += 1
            if count == number:
                threading.Timer(delay, kill).start() if delay else kill()
sys.addaudithook(watch)
sys.argv = ["vop", *sys.argv[4:]]
from vopcli.cli.app import main
try:
    main()
finally:
    print("operations", count)
"""


@dataclass(frozen=True)
class Case:
    """A command that replaces a result; ``before`` makes the old one."""

    name: str
    before: Sequence[str]
    command: Sequence[str]
    target: Path
    read: Callable[[Path], Contents]


@dataclass
class Counts:
    """Outcomes of a case: ``kept`` runs left the old result, ``replaced`` ones the new one."""

    runs: int = 0
    killed: int = 0
    kept: int = 0
    replaced: int = 0
    lost: int = 0
    refused: int = 0
    resumed: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether each run left the old or the new result, and could be completed."""
        return not self.lost and not self.refused


def make_cases(folder: Path) -> list[Case]:
    """Make videos, a frame store, captions and a model in ``folder``, the current one."""
    # loads torch: the decoding processes of the commands import this module as well
    from tests.support.training import SIDE, make_captioned_folder, make_store

    (folder / "data").mkdir()
    make_captioned_folder(folder, make_store(folder / "data"))
    encode = ("encode", "out.h5", "index.h5", "--weights", "tiny.safetensors", "--device", "cpu")
    frames = ("extract-frames", "data/videos", "frames.h5", "--size", str(SIDE), "--workers", "1")
    train = ("train", "--variant", "VoP", "--device", "cpu")
    return [
        Case("encode", encode, (*encode, "--precision", "fp32", "--overwrite"), Path("index.h5"), read_index),
        Case(
            "extract-frames",
            (*frames, "--num-frames", "2"),
            (*frames, "--num-frames", "3", "--overwrite"),
            Path("frames.h5"),
            read_store,
        ),
        Case(
            "train",
            (*train, "--epochs", "1"),
            (*train, "--epochs", "3", "--overwrite"),
            Path("runs/VoP-seed0"),
            read_run,
        ),
    ]


def read_index(path: Path) -> Contents:
    """Read the embedding of each video, and check the index."""
    index = VideoIndex(path)
    if problems := verify_index(path, SilentProgress()):
        raise ValueError(f"{path} is damaged: {problems}")
    return {video.path: index.embedding_of(video.row) for video in index.videos()}


def read_store(path: Path) -> Contents:
    """Read the frames of each video, and check the store."""
    store = FrameStore.open(path)
    if problems := store.verify():
        raise ValueError(f"{path} is damaged: {problems}")
    return {video.path: store.read(video) for video in store.videos}


def read_run(path: Path) -> Contents:
    """Read the adapter of a finished run."""
    if not (path / "summary.json").exists():
        raise ValueError(f"{path} is not finished")
    return dict(read_adapter(path).tensors)


def kill_runs(case: Case, count: int, seed: int) -> Counts:
    """Kill ``count`` runs of a case, and complete each."""
    chance, counts = random.Random(seed), Counts()  # noqa: S311
    run_vop(case.before)
    kept = Path("kept")
    copy(case.target, kept)
    number = disturb(case, 0, 0.0)
    expected = case.read(case.target)
    for _ in range(count):
        copy(kept, case.target)
        delay = chance.choice((0.0, chance.uniform(0, 0.02)))
        counts.runs += 1
        counts.killed += disturb(case, chance.randint(1, number), delay) < 0
        if bytes_of(case.target) == bytes_of(kept):
            counts.kept += 1
        elif is_like(case, expected):
            counts.replaced += 1
        else:
            counts.lost += 1
        code, _, said = run_vop(case.command)
        is_clean = not [path for path in case.target.parent.iterdir() if path.name.startswith(".")]
        counts.refused += code != 0 or not is_clean or not is_like(case, expected)
        counts.resumed += "continuing the interrupted" in said or "resuming" in said
    remove(kept)
    return counts


def disturb(case: Case, number: int, delay: float) -> int:
    """Run a case and kill it ``delay`` seconds after an operation; return their number, or -1 if killed."""
    command = [sys.executable, "-c", DISTURBED, case.target.name, str(number), str(delay), *case.command]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == -signal.SIGKILL:
        return -1
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1])


def run_vop(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run ``vop`` in this process; return exit code, standard output and standard error."""
    said, printed = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        try:
            app([*arguments], prog_name="vop")
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:  # noqa: BLE001  what would end the process with a traceback
            code = 1
            said.write(traceback.format_exc())
    return code, printed.getvalue(), said.getvalue()


def is_like(case: Case, expected: Contents) -> bool:
    """Whether the result can be read and is the expected one; sums may be rounded in another order."""
    try:
        found = case.read(case.target)
    except Exception:  # noqa: BLE001  whatever a damaged result causes
        return False
    return found.keys() == expected.keys() and all(
        np.allclose(found[name], expected[name], atol=1e-5) for name in expected
    )


def bytes_of(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of each file of a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in files}


def copy(source: Path, target: Path) -> None:
    """Replace ``target`` by a copy."""
    remove(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    """Print a table of all cases; exit with 1 if a result was lost."""
    options = parser_of(__doc__, "runs", 30, "kills for each command").parse_args()
    print_table(
        ("command with --overwrite", "runs", "killed", "kept", "replaced", "lost", "refused", "resumed"),
        make_cases,
        lambda case: kill_runs(case, options.runs, options.seed),
        only=options.only,
    )


if __name__ == "__main__":
    main()
