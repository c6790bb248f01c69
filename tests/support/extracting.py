"""A small set of real videos, and runs of the command on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from tests.support.videos import BAD, make_video
from vopcli.config.choices import Codec
from vopcli.config.schema import DataConfig
from vopcli.frames.extract import ExtractSummary, extract
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress

REPOSITORY = Path(__file__).parents[2]
NAMES = ["0.avi", "2.avi", "sub/1.avi", "sub/3.avi"]  # of `make_videos`, sorted
MPEG4 = ("-c:v", "mpeg4", "-q:v", "5", "-g", "12")


def make_videos(folder: Path, count: int = 4) -> Path:
    """Write videos that differ, named 0.avi, 1.avi, ..., every second one in a folder of its own."""
    for number in range(count):
        path = folder / (f"sub/{number}.avi" if number % 2 else f"{number}.avi")
        path.parent.mkdir(parents=True, exist_ok=True)
        make_video(path, num_frames=14 + number, width=64, height=48, codec=MPEG4)
    return folder


def make_two_videos(folder: Path) -> Path:
    """Write a.mp4 of 60 frames and b.mp4 of 40; each frame shows its number."""
    make_video(folder / "a.mp4", num_frames=60)
    make_video(folder / "b.mp4", num_frames=40)
    return folder


def make_bad_video(folder: Path, name: str = "text.mp4") -> Path:
    """Write one of the files that do not decode."""
    BAD[name][0](folder / name)
    return folder / name


def run(source: Path | Sequence[Path], store: Path, **options: object) -> ExtractSummary:
    """Extract in this process, decoding included; the sampling is given as on the command line."""
    sources = [source] if isinstance(source, Path) else source
    options = {"size": 32, "workers": 0} | options
    if "codec" in options:
        options["codec"] = Codec(options["codec"])
    data = {item.name: options.pop(item.name) for item in fields(DataConfig) if item.name in options}
    request = ExtractRequest(sources, store, DataConfig(**data), **options)  # type: ignore[arg-type]
    return extract(request, SilentProgress())


def contents(store: Path) -> dict[str, tuple[bytes, bytes]]:
    """Return the pixels and times of every stored video, by path, after a check of all checksums."""
    opened = FrameStore.open(store)
    if opened.verify():
        raise ValueError(f"{store} is damaged: {opened.verify()}")
    return {
        video.path: (opened.read(video).tobytes(), np.asarray(video.seconds).tobytes())
        for video in opened.videos
    }


def start(*arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    """Start ``vop`` with these arguments in a process group of its own."""
    command = [sys.executable, "-m", "vopcli", *map(os.fspath, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        cwd=options.pop("cwd", REPOSITORY),
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def vop(*arguments: str | Path, **options: object) -> tuple[int, str, str]:
    """Run ``vop`` in a process of its own; return exit code, standard output and standard error."""
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def told(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run ``vop`` in this process; return exit code, standard output and standard error."""
    from typer.testing import CliRunner  # scripts that import this file load few modules

    from vopcli.cli.app import app

    os.chdir(cwd or ".")
    done = CliRunner().invoke(app, list(map(os.fspath, arguments)))
    return done.exit_code, done.stdout, done.stderr


def wait_for_frames(store: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a running extraction has finished a video or two: their rows are marked in the file."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if store.exists() and _count_done(store) > 0:
            return
        time.sleep(0.005)
    raise TimeoutError(f"no frames in {store}: {process.communicate()}")


def _count_done(store: Path) -> int:
    """Count finished rows in a copy, because the store itself is locked."""
    copy = store.with_suffix(".copy")
    shutil.copyfile(store, copy)
    try:
        return len(FrameStore.open(copy).videos)
    except Exception:  # noqa: BLE001  copied half-way through its making
        return 0
    finally:
        copy.unlink()


def counts(summary: object) -> dict[str, int]:
    """The counts of a summary that are not zero, but for frames and bytes."""
    return {
        name: value
        for name, value in vars(summary).items()
        if name.startswith("num_") and value and name not in {"num_frames", "num_bytes", "num_found"}
    }
