"""Run an iterator on a thread of its own, a few items ahead of its use."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")

_AHEAD: Final = 2  # more would only hold memory
_POLL_SECONDS: Final = 0.1
_JOIN_SECONDS: Final = 5.0


class Prefetched(Generic[Item]):
    """The items of a generator, made ahead on a thread; a context manager that stops the thread.

    Attributes:
        waited_seconds: time that the iteration has waited for items so far.
    """

    def __init__(self, generator: Generator[Item, None, None]) -> None:
        self.waited_seconds = 0.0
        self._generator = generator
        self._items: queue.Queue[tuple[str, Any]] = queue.Queue(_AHEAD)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetched[Item]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_stopped.set()
        self._thread.join(_JOIN_SECONDS)  # a thread that hangs in a decoder ends with the process

    def __iter__(self) -> Iterator[Item]:
        while True:
            began = time.perf_counter()
            kind, value = self._items.get()
            self.waited_seconds += time.perf_counter() - began
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value

    def _work(self) -> None:
        try:
            for item in self._generator:
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001  raised again where the items are used
            self._put("error", error)
        finally:
            self._generator.close()

    def _put(self, kind: str, value: Any) -> bool:
        """Wait for room; False once stopped. Polls: Ctrl-C can lose the wake-up of a waiting thread."""
        while not self._is_stopped.is_set():
            try:
                self._items.put((kind, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
