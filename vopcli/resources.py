"""Version, packaged files, cache folder, number of cores and threads."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from vopcli.errors import FileError, format_name

__version__: Final = "0.1.0"


def packaged_file(name: str) -> Path:
    """Return the path of a packaged asset such as ``bpe/bpe_simple_vocab_16e6.txt.gz``.

    Assets are inside the package in a wheel, and beside it in a checkout.
    """
    package = Path(__file__).parent
    inside = package / "assets" / name
    return inside if inside.exists() else package.parent / "assets" / name


def cache_folder() -> Path:
    """Return the folder of downloaded and derived weights: ``$VOP_CACHE``, else ``~/.cache/vop``."""
    named = os.environ.get("VOP_CACHE")
    if named:
        return user_path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vop"


def user_path(text: str) -> Path:
    """Return a path that a user gave, with ``~`` expanded; it need not exist.

    Raises:
        FileError: no user has the name after ``~``, or the path cannot be looked up: it may be too long.
    """
    try:
        path = Path(text).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            path.stat()
    except RuntimeError:
        home = FileNotFoundError(errno.ENOENT, "")
        raise FileError(format_name(text, 300), home) from None
    except OSError as error:
        raise FileError(format_name(text), error) from error
    return path


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the number of cores that this process may use, by its affinity and its cgroup.

    Args:
        quota: file with microseconds of CPU time and their period, such as "150000 100000", or "max 100000".
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return min(cores, max(-(-int(allowed) // int(period)), 1))
    except (OSError, ValueError):  # no cgroup, or no limit
        return cores


def num_workers(asked: int | None) -> int:
    """Return the number of decoding processes; None: one per usable core, 0: decode in this process."""
    return usable_cores() if asked is None else asked


def set_threads(threads: int | None) -> None:
    """Before the import of torch, set the number of CPU threads, and let them sleep while they wait.

    OpenMP's threads spin while they wait for each other, by default for milliseconds. If another program
    needs the cores, a step then takes many times as long: see docs/benchmarks.md. Variables that the user has
    set are kept.

    Args:
        threads: None: ``$OMP_NUM_THREADS``, or one per usable core.
    """
    if threads is not None or "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(threads or usable_cores())
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # of GNU's OpenMP, in iterations
        os.environ.setdefault("KMP_BLOCKTIME", "0")  # of LLVM's and Intel's, in milliseconds
