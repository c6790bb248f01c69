"""Work for the worker processes of the decode pool that does what a bad file may do to a decoder."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from vopcli.video.pool import DecodeJob


def misbehave(job: DecodeJob, tick: Callable[[], None]) -> Iterator[str]:
    """Do what the path says."""
    what = job.path.split("-", maxsplit=1)[0]
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "exit":
        os._exit(3)
    elif what == "memory":
        raise MemoryError
    elif what == "bug":
        raise KeyError("a bug in the decoder")
    elif what == "stall":
        time.sleep(60)
    elif what == "slow":
        for _ in range(20):
            time.sleep(0.05)
            tick()
    elif what == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    yield f"did {job.path}"


def exit_once(job: DecodeJob, tick: Callable[[], None]) -> Iterator[str]:
    """Yield three results; the first process to get this far ends after two of them."""
    yield from ("first", "second")
    if not os.path.exists(job.path):  # noqa: PTH110
        with open(job.path, "w", encoding="utf-8"):  # noqa: PTH123
            os._exit(3)
    yield "third"


def loaded_modules(job: DecodeJob, tick: Callable[[], None]) -> Iterator[list[str]]:
    """Decode one video and tell which of the heavy modules this process has loaded."""
    from vopcli.video.sampling import Sampling
    from vopcli.video.video import read_frames

    read_frames(job.path, Sampling("uniform", 2), size=32, tick=tick)
    yield sorted({"torch", "cv2", "h5py", "typer", "av", "PIL"} & set(sys.modules))
