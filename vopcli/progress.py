"""How the library speaks while it works: the command line draws it, the API keeps silent."""

from __future__ import annotations

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
