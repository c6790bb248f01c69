"""Progress reporting protocol. The CLI renders it; the API is silent by default."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol


class Task(Protocol):
    """Progress of one task, as a context manager."""

    def advance(self, amount: int = 1) -> None:
        """Add ``amount`` completed units."""

    def fail(self, item: str, reason: str) -> None:
        """Add one failed unit and report its name and the reason."""

    def __enter__(self) -> Task: ...

    def __exit__(self, *exception: object) -> None: ...


class Progress(Protocol):
    """Receiver of tasks and messages."""

    def task(self, title: str, *, total: int | None, unit: str) -> Task:
        """Start a task of ``total`` units (None if unknown); ``unit`` is a plural noun, or "B" for bytes."""

    def note(self, message: str) -> None:
        """Show a message."""

    def warn(self, message: str) -> None:
        """Show a warning."""


class SilentProgress:
    """Progress and task without output."""

    def task(self, title: str, *, total: int | None, unit: str) -> SilentProgress:
        """Return itself as the task."""
        return self

    def advance(self, amount: int = 1) -> None:
        """Do nothing."""

    def fail(self, item: str, reason: str) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def warn(self, message: str) -> None:
        """Do nothing."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer KeyboardInterrupt until the end of the block.

    For a training step, and for the import of torch, which aborts the process if it is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    received: list[int] = []
    # a blocked signal would be delivered through another thread
    earlier = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
        if received:
            signal.raise_signal(signal.SIGINT)
