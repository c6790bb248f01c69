"""How the library speaks while it works: the command line draws it, the API keeps silent."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol


class Task(Protocol):
    """One countable piece of work; a context manager that ends its line when left."""

    def advance(self, amount: int = 1) -> None:
        """Count ``amount`` more units as done."""

    def fail(self, item: str, reason: str) -> None:
        """Count one unit as done but failed, and say which and why."""

    def __enter__(self) -> Task: ...

    def __exit__(self, *exception: object) -> None: ...


class Progress(Protocol):
    """What a workflow may say while it works."""

    def task(self, title: str, *, total: int | None, unit: str) -> Task:
        """Begin work on ``total`` units (None: not known); ``unit`` is their plural, or "B" for bytes."""

    def note(self, message: str) -> None:
        """Say one line."""

    def warn(self, message: str) -> None:
        """Say one line that the user should not miss."""


class SilentProgress:
    """A progress that says nothing, and the task that goes with it."""

    def task(self, title: str, *, total: int | None, unit: str) -> SilentProgress:
        """Return itself: nothing is drawn."""
        return self

    def advance(self, amount: int = 1) -> None:
        """Say nothing."""

    def fail(self, item: str, reason: str) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Say nothing."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends: there what it would leave half done is whole.

    Such as a step of training, or the import of torch, which aborts the process when it is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():  # signals never interrupt another one
        yield
        return
    came: list[int] = []
    # not by blocking the signal: it would go to another thread, and from there to this one all the same
    earlier = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
        if came:
            signal.raise_signal(signal.SIGINT)
