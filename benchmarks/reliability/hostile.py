"""Give the commands hostile and damaged files: do they end soon, on one line, and run nothing?

Each file is read by a process of its own. A file may be accepted, or refused with exit code 2, 3 or 4; it
must not run code, end in a traceback or by a signal, take more than 30 s of processor time or 1 GiB, or print
more than 10,000 characters.
Run: python benchmarks/reliability/hostile.py [--files 60] [--seed 0] [--only weights]
"""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.campaign import parser_of, print_table
from reliability.flips import Kind, make_kinds
from reliability.kills import REPOSITORY

from tests.support.videos import make_video
from vopcli.files.journal import write_clean_record

MOST_SECONDS, MOST_BYTES, MOST_CHARACTERS = 30, 1 << 30, 10_000
EXECUTED = Path("executed")
Write = Callable[[Path, random.Random], None]


@dataclass
class Counts:
    """Outcomes of hostile files; all after ``accepted`` must be 0."""

    files: int = 0
    refused: int = 0
    accepted: int = 0
    executed: int = 0
    traceback: int = 0
    crash: int = 0
    slow: int = 0
    large: int = 0
    long: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether each file was accepted or refused."""
        return self.refused + self.accepted == self.files


@dataclass(frozen=True)
class Campaign:
    """Files of one kind: their suffix, the command that reads one, and functions that write one."""

    name: str
    suffix: str
    command: Sequence[str]
    writers: Sequence[Write]


class RunsCode:
    """An object whose pickle creates a file when it is loaded without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {EXECUTED}",)


def text(make: Callable[[random.Random], str]) -> Write:
    """Return a function that writes the text that ``make`` returns."""
    return lambda path, chance: (
        path.write_text(make(chance), encoding="utf-8", errors="surrogatepass") and None
    )


def nested_aliases(chance: random.Random) -> str:
    """Return lists of lists of aliases, that stand for up to 10 to the power of 20 values."""
    depth, width = chance.randint(5, 20), chance.randint(5, 10)
    lists = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width) if i else 'x'}]" for i in range(depth)]
    return "\n".join(lists) + f"\ntuning: {{variant: *a{depth - 1}}}\n"


SETTINGS: tuple[Write, ...] = (
    text(nested_aliases),
    text(
        lambda chance: "tuning:\n" + "".join(f"  key{i}: {i}\n" for i in range(chance.randint(1000, 20_000)))
    ),
    text(lambda chance: "tuning:\n" + "  prompt_length: 3\n" * chance.randint(2, 3000)),
    text(lambda chance: f"training: {{epochs: {'9' * chance.randint(100, 60_000)}}}\n"),
    text(lambda chance: f"backbone: {{weights: {'w' * chance.randint(1000, 10_000_000)}}}\n"),
    text(lambda chance: "[" * chance.randint(100, 50_000)),
    text(lambda chance: "a: &a [*a]\n" * chance.randint(1, 5)),
    text(lambda _: f"tuning: !!python/object/apply:os.system ['touch {EXECUTED}']\n"),
    text(
        lambda chance: (
            "training: {lr: " + chance.choice(["1e999", ".nan", "-.inf", "!!int x", "2001-99-99"]) + "}\n"
        )
    ),
    text(lambda chance: "".join(chr(chance.randint(1, 0x2FFF)) for _ in range(2000))),
    lambda path, chance: path.write_bytes(chance.randbytes(5000)) and None,
)
CAPTIONS: tuple[Write, ...] = (
    text(lambda chance: json.dumps({"video": "x" * chance.randint(10_000, 10_000_000), "caption": "a"})),
    text(lambda chance: json.dumps({"video": "a", "caption": "x" * chance.randint(10_000, 10_000_000)})),
    text(lambda chance: json.dumps({"video": "a", "x" * chance.randint(10_000, 10_000_000): "b"})),
    text(lambda chance: '{"video": ' + "[" * chance.randint(1000, 1_000_000)),
    text(lambda chance: '{"video": ' + "9" * chance.randint(1000, 1_000_000) + ', "caption": "a"}'),
    text(lambda chance: "\n".join(json.dumps({"video": f"{i}", "caption": "a", "split": f"{i}"})
                                  for i in range(chance.randint(200, 100_000)))),
    text(lambda chance: '{"video": "a\\u0000\\u001b[2J", "caption": "\\ud800"}\n' * chance.randint(1, 100)),
    text(lambda chance: "{}\n" * chance.randint(1, 200_000)),
    lambda path, chance: path.write_bytes(chance.randbytes(chance.randint(1, 100_000))) and None,
)  # fmt: skip


def safetensors_file(path: Path, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    """Write a safetensors file with any header, and any length for it."""
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def entry(begin: int, end: int, shape: Sequence[int], dtype: str = "F32") -> dict[str, object]:
    """Return the description of a tensor."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def huge_length(path: Path, chance: random.Random) -> None:
    """Write a length of the header that is far beyond the file."""
    safetensors_file(path, b"{}", length=chance.choice([1 << 26, 1 << 40, 1 << 63, (1 << 64) - 1]))


def many_tensors(path: Path, chance: random.Random) -> None:
    """Write up to 300,000 names of empty tensors."""
    names = {f"t{i}": entry(0, 0, [0]) for i in range(chance.randint(20_000, 300_000))}
    safetensors_file(path, json.dumps(names).encode())


def odd_tensors(path: Path, chance: random.Random) -> None:
    """Write shapes and ranges that contradict each other."""
    shape = [chance.choice([0, 1, 2, -1, 1 << 31, 1 << 62]) for _ in range(chance.choice([1, 2, 70]))]
    end = chance.choice([0, 4, 8, 1 << 40])
    name = "x" * chance.choice([1, 100_000])
    safetensors_file(path, json.dumps({name: entry(0, end, shape)}).encode(), data=bytes(8))


def long_metadata(path: Path, chance: random.Random) -> None:
    """Write an adapter file with metadata of 100 kB or more."""
    field = chance.choice(["version", "tuning", "num_frames", "backbone", "recipe", "max_tokens", "sha256"])
    metadata = {"format": "vop-adapter", "version": "1", "tuning": '{"variant": "P"}', "num_frames": "3",
                "backbone": "f", "recipe": "{}", "max_tokens": "9"}  # fmt: skip
    size = chance.randint(100_000, 1_000_000)
    metadata[field] = chance.choice(["x" * size, "[" * size, json.dumps({"variant": "x" * size}), "9" * size])
    safetensors_file(path, json.dumps({"__metadata__": metadata}).encode())


def pickle_with_code(path: Path, chance: random.Random) -> None:
    """Write a pickle that runs a command when it is loaded, plain or in an archive as PyTorch writes it."""
    program = pickle.dumps({"visual.conv1.weight": RunsCode()}, protocol=chance.randint(0, 5))
    if chance.random() < 0.3:
        path.write_bytes(program)
        return
    with zipfile.ZipFile(path, "w") as archive:
        folder = chance.choice(["archive", "m", "../m"])
        for name in chance.choice([["data.pkl"], ["data.pkl", "constants.pkl"], ["constants.pkl"]]):
            archive.writestr(f"{folder}/{name}", program)


def zip_bomb(path: Path, chance: random.Random) -> None:
    """Write an archive of few bytes that would unpack to many."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(chance.choice([100, 70_000_000])))
        archive.writestr("m/data/0", bytes(90_000_000))


def damaged(source: Path) -> Write:
    """Return a function that writes a copy of a file that is cut, overwritten, moved or has flipped bits."""

    def write(path: Path, chance: random.Random) -> None:
        content = bytearray(source.read_bytes())
        size = chance.randint(1, max(1, len(content) // 8))
        begin, other = (chance.randrange(len(content)) for _ in range(2))
        how = chance.choice(["cut", "zeros", "noise", "moved", "flips"])
        if how == "cut":
            del content[begin:]
        elif how == "zeros":
            content[begin : begin + size] = bytes(len(content[begin : begin + size]))
        elif how == "noise":
            content[begin : begin + size] = chance.randbytes(len(content[begin : begin + size]))
        elif how == "moved":
            piece = bytes(content[other : other + size])
            content[begin : begin + len(piece)] = piece
        else:
            for _ in range(chance.randint(1, 200)):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)

    return write


def redirected(source: Path) -> Write:
    """Return a function that writes a copy of an HDF5 file with one of its columns or groups replaced."""

    def write(path: Path, chance: random.Random) -> None:
        path.write_bytes(source.read_bytes())
        with h5py.File(path, "r+") as file:
            group = chance.choice([file, file["tensors"], file["segments"], *file["segments"].values()])
            name = chance.choice([*group, "more"])
            shape = getattr(group.get(name), "shape", (3,))
            if name in group:
                del group[name]
            replace_item(group, name, shape, chance)
        with path.open("rb+") as plain:
            write_clean_record(plain.fileno())

    return write


def replace_item(group: h5py.Group, name: str, shape: Sequence[int], chance: random.Random) -> None:
    """Create a link, a dataset that lies elsewhere, or one of an unexpected kind."""
    how = chance.choice(
        ["soft", "external", "storage", "virtual", "scalar", "empty", "text", "huge", "chunks", "loop"]
    )
    if how in {"soft", "external", "loop"}:
        link = h5py.ExternalLink("/etc/passwd", "/x") if how == "external" else h5py.SoftLink("/segments")
        group[name] = group.file["/"] if how == "loop" else link
    elif how == "storage":
        group.create_dataset(name, shape, "<f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    elif how == "virtual":
        layout = h5py.VirtualLayout(tuple(shape), "<f4")
        layout[...] = h5py.VirtualSource("/etc/passwd", "x", tuple(shape))
        group.create_virtual_dataset(name, layout)
    elif how == "huge":
        group.create_dataset(name, (1 << 40, 3), "<f4", chunks=(1, 3))
    elif how == "chunks":
        group.create_dataset(name, (3,), "<f4", chunks=(1,), compression="gzip")
    else:
        group[name] = {"scalar": np.float32(1), "empty": h5py.Empty("<f4"), "text": "x" * 100_000}[how]


def huge_frames(source: Path) -> Write:
    """Return a function that writes an AVI file whose header tells of larger frames."""

    def write(path: Path, chance: random.Random) -> None:
        content = bytearray(source.read_bytes())
        for sign, place in ((b"avih", 40), (b"strf", 12)):
            at = content.index(sign) + place
            struct.pack_into(
                "<2i", content, at, *(chance.choice([20_000, 65_535, 1 << 30]) for _ in range(2))
            )
        path.write_bytes(content)

    return write


def make_campaigns(whole: Sequence[Kind]) -> Iterator[Campaign]:
    """Return the campaigns in the current folder, which holds ``whole`` files."""
    kinds = {kind.path.name: kind.path for kind in whole}
    search = ("search", "a red thing", "--weights", "tiny.safetensors", "--norm", "qb", "--index")
    check = ("data", "check", "--frames", "out.h5", "--captions")
    extract = ("extract-frames", "--size", "16", "--workers", "1", "--overwrite")
    weights = (huge_length, many_tensors, odd_tensors, long_metadata, pickle_with_code, zip_bomb,
               damaged(Path("tiny.safetensors")), damaged(kinds["adapter.safetensors"]))  # fmt: skip
    yield Campaign("settings", ".yaml", ("config", "show", "--config"), SETTINGS)
    yield Campaign("weights and adapters", ".safetensors", ("info",), weights)
    yield Campaign("weights as .pt", ".pt", ("info",), (pickle_with_code, zip_bomb))
    yield Campaign("captions", ".jsonl", check, CAPTIONS)
    for name, command in (
        ("index.h5", search),
        ("raw.h5", ("info", "--verify")),
        ("scores.h5", ("rescore",)),
    ):
        yield Campaign(f"HDF5, {name}", ".h5", command, (redirected(kinds[name]), damaged(kinds[name])))
    films = [make_video(Path(f"film{suffix}"), num_frames=20) for suffix in (".avi", ".mp4", ".mkv")]
    writers = [huge_frames(films[0]), *map(damaged, films)]
    writers.append(lambda path, chance: path.write_bytes(chance.randbytes(100_000)) and None)
    yield Campaign("videos", ".avi", (*extract, "SOURCE", "extracted.h5"), writers)


def attack(campaign: Campaign, count: int, seed: int) -> Counts:
    """Write ``count`` files and let a command read each."""
    chance, counts = random.Random(seed), Counts()  # noqa: S311
    for number in range(count):
        path = Path(f"hostile{campaign.suffix}")
        campaign.writers[number % len(campaign.writers)](path, chance)
        command = [path.name if word == "SOURCE" else word for word in campaign.command]
        found = outcome(command if "SOURCE" in campaign.command else [*command, path.name])
        setattr(counts, found, getattr(counts, found) + 1)
        counts.files += 1
        if found not in {"refused", "accepted"}:
            print(f"{campaign.name}, file {number}: {found}", file=sys.stderr)
        path.unlink()
        EXECUTED.unlink(missing_ok=True)
    return counts


def outcome(command: Sequence[str]) -> str:
    """Run a command in a process of its own; return the name of the count that it belongs to."""
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "vopcli", *command],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=set_limits,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        size = printed.tell()
        printed.seek(max(0, size - 100_000))
        said = printed.read().decode("utf-8", "replace")
    seconds = usage.ru_utime + usage.ru_stime
    signs = {
        "executed": EXECUTED.exists(),
        "slow": seconds >= MOST_SECONDS or time.monotonic() - start > 10 * MOST_SECONDS,
        "traceback": "Traceback" in said,
        "crash": code not in {0, 2, 3, 4},
        "large": usage.ru_maxrss * 1024 > MOST_BYTES,
        "long": size > MOST_CHARACTERS,
        "accepted": code == 0,
        "refused": True,
    }
    found = next(name for name, is_so in signs.items() if is_so)
    if found not in {"refused", "accepted"}:
        print(f"{' '.join(command)} ended with {code} after {seconds:.1f} s: {said[-1500:]}", file=sys.stderr)
    return found


def set_limits() -> None:
    """Limit a process to some time, and to an address space with room for the libraries."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (16 * MOST_BYTES, 16 * MOST_BYTES))


def main() -> None:
    """Print a table of all campaigns; exit with 1 if a file was neither accepted nor refused."""
    options = parser_of(__doc__, "files", 60, "files of each kind").parse_args()
    print_table(
        ("files", "tried", "refused", "accepted", "executed", "traceback", "crash", "slow", "large", "long"),
        lambda folder: make_campaigns(make_kinds(folder)),
        lambda campaign: attack(campaign, options.files, options.seed),
        only=options.only,
    )


if __name__ == "__main__":
    main()
