"""End a worker process that has stalled, or has lost its parent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

# A decoder that takes no packet for this long is stalled.
STALLED_SECONDS: Final = 120.0
STALLED_EXIT_CODE: Final = 75


class Watch:
    """Ends a worker process whose parent has died or whose decoder has stalled."""

    def __init__(self, stalled_seconds: float) -> None:
        self.stalled_seconds = stalled_seconds
        self.last_tick: float | None = None

    def begin(self) -> None:
        """Note that a job begins."""
        self.last_tick = time.monotonic()

    def tick(self) -> None:
        """Note progress of the job."""
        self.last_tick = time.monotonic()

    def end(self) -> None:
        """Note that the job has ended."""
        self.last_tick = None

    def start(self, has_ended: Callable[[float], object]) -> None:
        """Watch on a thread; ``has_ended`` waits some seconds for the end of the parent."""
        threading.Thread(target=self._run, args=(has_ended,), daemon=True).start()

    def _run(self, has_ended: Callable[[float], object]) -> None:
        while not has_ended(min(1.0, self.stalled_seconds / 4)):
            last_tick = self.last_tick
            if last_tick is not None and time.monotonic() - last_tick > self.stalled_seconds:
                os._exit(STALLED_EXIT_CODE)
        os._exit(1)
