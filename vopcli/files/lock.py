"""Lock open files and folders against other processes; the system releases the lock of a killed process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.02


def try_lock(descriptor: int, path: Path, *, timeout_seconds: float = 0.0) -> bool:
    """Lock an open file or folder, with HDF5's own kind of lock.

    Args:
        descriptor: of the open file; closing it releases the lock.
        path: its name.
        timeout_seconds: wait for so long while another process holds the lock.

    Returns:
        False if another process holds the lock, or has replaced or removed ``path``.

    Raises:
        OSError: the file system has no locks.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return is_at(descriptor, path)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether ``path`` is still the name of an open file or folder."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
