"""One process holds a lock at a time; another one waits for it, or is told."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from vopcli.files.lock import is_at, try_lock


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_lock_is_held_by_one_until_it_is_closed(tmp_path: Path, *, is_folder: bool) -> None:
    path = tmp_path / "it"
    if is_folder:
        path.mkdir()
    else:
        path.touch()
    first, second = (os.open(path, os.O_RDONLY) for _ in range(2))
    assert try_lock(first, path)
    began = time.monotonic()
    assert not try_lock(second, path, timeout_seconds=0.1)
    assert 0.1 <= time.monotonic() - began < 5
    closing = threading.Timer(0.2, os.close, [first])
    closing.start()
    assert try_lock(second, path, timeout_seconds=60)
    closing.join()
    os.close(second)


def test_a_file_that_was_replaced_or_removed_is_not_locked(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    held = os.open(path, os.O_RDONLY)
    assert is_at(held, path)
    other = tmp_path / "other"
    other.touch()
    other.replace(path)
    assert not try_lock(held, path)
    path.unlink()
    assert not try_lock(held, path)
    os.close(held)
