"""Progress that is counted, keeps its warnings, or stops the work."""

from __future__ import annotations

from vopcli.progress import SilentProgress


class Interrupting(SilentProgress):
    """Raises an error after so many steps, by default that of Ctrl-C.

    To compare a video and to count its frames are a step each.
    """

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.after, self.error = after, error

    def advance(self, amount: int = 1) -> None:
        self.after -= amount
        if self.after == 0:
            raise self.error


class Counting(SilentProgress):
    """Keeps the total of each task and how far it came: a failure is a step, as in a progress bar."""

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[int | None, int]] = {}
        self.failed: list[str] = []
        self._title = ""

    def task(self, title: str, *, total: int | None, unit: str) -> Counting:
        self._title = title
        self.tasks[title] = total, 0
        return self

    def advance(self, amount: int = 1) -> None:
        total, done = self.tasks[self._title]
        self.tasks[self._title] = total, done + amount

    def fail(self, item: str, reason: str) -> None:
        self.failed.append(item)
        self.advance()


class Warnings(SilentProgress):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)
