"""The writing thread: everything in order, errors handed back, and an end whatever happens to the queue."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from vopcli.encoding.background import BackgroundWriter


def test_everything_is_written_in_order_before_the_block_ends() -> None:
    written: list[int] = []

    def write(items: list[int]) -> None:
        time.sleep(0.002)
        written.extend(items)

    with BackgroundWriter(write) as background:
        for first in range(0, 300, 3):
            background.put([first, first + 1, first + 2])
    assert written == list(range(300))


def test_an_error_comes_back_and_ends_the_thread() -> None:
    def fail(items: list[int]) -> None:
        raise OSError(f"no room for {items[0]}")

    def hand_over() -> None:
        with BackgroundWriter(fail) as background:
            for number in range(100):
                background.put([number])
                time.sleep(0.01)

    before = threading.active_count()
    with pytest.raises(OSError, match="no room for 0"):
        hand_over()
    assert threading.active_count() == before


def test_it_ends_without_a_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C inside the queue can eat the wake-up of the thread that waits for items."""
    written: list[int] = []
    background = BackgroundWriter(written.extend)

    def silent(_: object) -> None:
        raise queue.Full

    began = time.monotonic()
    with background:
        background.put([1])
        monkeypatch.setattr(background._items, "put_nowait", silent)
    assert written == [1]
    assert time.monotonic() - began < 5
