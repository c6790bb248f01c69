"""Limits on the work that clients can cause at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")


class CrowdedError(Exception):
    """Too many callers are waiting."""


class Gate:
    """Run functions in threads, a few at once; some callers wait, further ones are turned away."""

    def __init__(self, *, running: int, waiting: int) -> None:
        self._running, self._most, self._inside = running, running + waiting, 0
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of a function.

        Raises:
            CrowdedError: too many callers are waiting.
        """
        if self._inside >= self._most:
            raise CrowdedError
        if self._limiter is None:  # it belongs to the event loop
            self._limiter = anyio.CapacityLimiter(self._running)
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
        finally:
            self._inside -= 1
