"""Run the commands that write on a disk that becomes full: are old results whole, and the messages clear?

The room is a random number of bytes: on a file system in memory, or with --limit the most that one file may
have. A run must complete, or end with exit code 3 and one error without a traceback. Then the old result must
be whole, and the same command must complete once there is space.
Run: python benchmarks/reliability/full_disk.py [--runs 10] [--seed 0] [--limit] [--only train]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.campaign import parser_of, print_table
from reliability.kills import Case, Contents, bytes_of, copy, is_like, make_cases, remove, run_vop

from vopcli.evaluation.score_file import read_similarities

DISK_BYTES = 64 << 20


@dataclass
class Counts:
    """Outcomes of a case: ``full`` runs ended with exit code 3 and one error line."""

    runs: int = 0
    full: int = 0
    complete: int = 0
    unclear: int = 0
    lost: int = 0
    refused: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether each run ended as documented, and lost nothing."""
        return not (self.unclear or self.lost or self.refused)


def make_all_cases(folder: Path) -> list[Case]:
    """Return the cases of `reliability.kills`, the same for new results, and commands that write one file."""
    cases = make_cases(folder)
    device = ("--device", "cpu")
    measure = ("eval", "zero-shot", "--overwrite", *device, "--bank", "0", "--queries", "1")
    convert = ("weights", "convert", "tiny.safetensors", "model.safetensors", "--overwrite")
    run_vop(("train", "--variant", "P", "--epochs", "1", *device))
    report = ("report", "runs/P-seed0", "--overwrite", "--html", "report.html")
    new = [
        replace(
            case,
            name=f"{case.name}, new",
            before=(),
            command=[one for one in case.command if one != "--overwrite"],
        )
        for case in cases
    ]
    return [
        *(replace(case, name=f"{case.name} --overwrite") for case in cases),
        *new,
        Case("weights convert --overwrite", convert, convert, Path("model.safetensors"), read_weights),
        *(
            Case(f"{command[0]} {option} --overwrite", full, full, Path(full[-1]), read)
            for command, option, read, full in (
                (measure, "--save-sims", read_scores, (*measure, "--save-sims", "scores.h5")),
                (measure, "--html", read_page, (*measure, "--html", "page.html")),
                (report, "--html", read_page, report),
            )
        ),
    ]


def read_weights(path: Path) -> Contents:
    """Read the bytes of converted weights, which are always the same."""
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def read_scores(path: Path) -> Contents:
    """Read the scores of a test."""
    return {"scores": np.asarray(read_similarities(path).similarity[:])}


def read_page(path: Path) -> Contents:
    """Read the length of a page, which has a date."""
    return {"bytes": np.array(len(path.read_bytes()) // 100)}


@contextlib.contextmanager
def file_limit(num_bytes: int) -> Iterator[None]:
    """Let this process write files of at most ``num_bytes``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def disk_limit(num_bytes: int) -> Iterator[None]:
    """Fill the disk of the current folder but for ``num_bytes``."""
    filler = Path("filler")
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(".").free - num_bytes))
    try:
        yield
    finally:
        filler.unlink()


def fill_runs(case: Case, count: int, seed: int, *, limit: bool) -> Counts:
    """Run a case ``count`` times with little room, and complete each."""
    chance, counts = random.Random(seed), Counts()  # noqa: S311
    kept, scarce = Path("kept"), file_limit if limit else disk_limit
    remove(case.target)
    if case.before:
        run_vop(case.before)
        copy(case.target, kept)
    run_vop(case.command)
    expected = case.read(case.target)
    sizes = [len(content) for content in bytes_of(case.target).values()]
    most = max(sizes) if limit else 2 * sum(sizes)
    for _ in range(count):
        remove(case.target)
        if case.before:
            copy(kept, case.target)
        counts.runs += 1
        with scarce(int(most * chance.random())):
            code, _, said = run_vop(case.command)
        errors = [line for line in said.splitlines() if line.startswith("Error: ")]
        counts.full += code == 3 and len(errors) == 1
        counts.complete += code == 0
        counts.unclear += code not in {0, 3} or len(errors) != (code == 3) or "Traceback" in said
        if code and case.before:
            counts.lost += bytes_of(case.target) != bytes_of(kept)
        elif code == 0:
            counts.lost += not is_like(case, expected)
        is_run = case.command[0] == "train" and not case.before and case.target.exists()
        if code:
            code, _, said = run_vop([*case.command, "--resume"] if is_run else case.command)
            counts.refused += code != 0 or not is_like(case, expected)
    remove(kept)
    return counts


def main() -> None:
    """Print a table of all cases; exit with 1 if a result was lost or a message was not clear."""
    parser = parser_of(__doc__, "runs", 10, "runs of each command")
    parser.add_argument("--limit", action="store_true", help="limit the size of files instead of the disk")
    parser.add_argument("--disk", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.limit and options.disk is None:
        with tempfile.TemporaryDirectory() as name:
            mount = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'
            again = [sys.executable, __file__, *sys.argv[1:], "--disk", name]
            sys.exit(subprocess.run(["unshare", "-rm", "sh", "-c", mount, name, *again]).returncode)  # noqa: S607
    print_table(
        ("command", "runs", "disk full", "complete", "unclear", "lost", "refused"),
        make_all_cases,
        lambda case: fill_runs(case, options.runs, options.seed, limit=options.limit),
        only=options.only,
        folder=options.disk,
    )


if __name__ == "__main__":
    main()
