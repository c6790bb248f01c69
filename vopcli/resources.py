"""Version, packaged files, cache folder and number of cores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

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
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vop"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
