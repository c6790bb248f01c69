"""Ctrl-C kept waiting."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


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
