"""The calls with which this process changes files: noted, failed, or ended by a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

CHANGES = ("pwrite", "ftruncate", "posix_fallocate", "fdatasync")

Call = Callable[..., Any]


@contextmanager
def replaced(replace: Callable[[str, Call], Call], names: Sequence[str] = CHANGES) -> Iterator[None]:
    """Replace functions of `os`; `replace` maps the name of one and the function to another."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, replace(name, getattr(os, name)))
        yield


def without_sync(_name: str, _call: Call) -> Call:
    """Leave out a sync: it is slow, and a kill knows no difference."""
    return lambda _descriptor: None


class Killer:
    """Kills this very process at a chosen one of its calls, which is done not at all or by half."""

    def __init__(self, at: int, *, by_half: bool = True) -> None:
        self.left, self.by_half = at, by_half

    def __call__(self, name: str, call: Call) -> Call:
        def counted(*arguments: Any) -> Any:
            if self.left == 0:
                if self.by_half and name == "pwrite":
                    descriptor, data, offset = arguments
                    call(descriptor, bytes(data)[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return call(*arguments)

        return counted
