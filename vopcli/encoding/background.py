"""Threads of their own for an iterator that runs ahead and a writer that keeps up."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")

_AHEAD: Final = 2  # items made ahead of their use
_WAITING: Final = 8  # lists of items waiting to be written
_POLL_SECONDS: Final = 0.1
_FAREWELL_SECONDS: Final = 5.0


class Prefetched(Generic[Item]):
    """An iterator that runs on a thread of its own, a few items ahead; a context manager that stops it."""

    def __init__(self, make: Callable[[], Iterator[Item]]) -> None:
        self._make = make
        self._items: queue.Queue[tuple[str, Any]] = queue.Queue(_AHEAD)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        self._thread.start()
        return self._iterate()

    def __exit__(self, *exception: object) -> None:
        self._is_stopped.set()
        self._thread.join(_FAREWELL_SECONDS)  # it may hang in a decoder; it dies with the process

    def _iterate(self) -> Iterator[Item]:
        while True:
            kind, value = self._items.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value

    def _work(self) -> None:
        iterator = self._make()
        try:
            for item in iterator:
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001  raised again where the items are used
            self._put("error", error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _put(self, kind: str, value: Any) -> bool:
        while not self._is_stopped.is_set():
            try:
                self._items.put((kind, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


class BackgroundWriter(Generic[Item]):
    """Hands lists to a slow function on a thread of its own, all that are waiting at once.

    A context manager: leaving it waits until everything is written, whatever the reason for leaving. That may
    be Ctrl-C within ``put``, which can leave the queue without a wake-up for its reader: so the thread also
    looks from time to time by itself.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None]) -> None:
        self._write = write
        self._items: queue.Queue[list[Item] | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="writer")

    def __enter__(self) -> BackgroundWriter[Item]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closing = True
        with contextlib.suppress(queue.Full):
            self._items.put_nowait(None)  # wakes the thread
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def put(self, items: list[Item]) -> None:
        """Hand over a list; the error of an earlier one is raised here."""
        if self._error is not None:
            raise self._error
        if items:
            self._items.put(items)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing  # before the look, which then finds all that was handed over
            items = [item for part in self._taken() if part is not None for item in part]
            if items and self._error is None:
                try:
                    self._write(items)
                except BaseException as error:  # noqa: BLE001  raised again on the thread that hands over
                    self._error = error

    def _taken(self) -> Iterator[list[Item] | None]:
        """Yield all that waits, after a moment if nothing does."""
        with contextlib.suppress(queue.Empty):
            yield self._items.get(timeout=_POLL_SECONDS)
            while True:
                yield self._items.get_nowait()
