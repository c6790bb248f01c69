"""Encode new and changed videos of a folder in the background: `vop encode` in a process of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from vopcli.errors import EXIT_SOME_FAILED
from vopcli.index.folder import own_index
from vopcli.resources import cache_folder
from vopcli.video.find_videos import VIDEO_SUFFIXES

_FIRST_LOOK: Final = 500  # milliseconds until a watch without changes yields for the first time
_SETTLE: Final = 2000  # milliseconds in which further changes, such as of a file being copied, are collected
_STOP_SECONDS: Final = 10


def iter_changes(folder: Path, stopped: threading.Event | None = None) -> Iterator[set[tuple[Any, str]]]:
    """Yield once as soon as a folder is watched, then the changes of videos each time there are some.

    Changes that happen before the next set is asked for are collected. Only ``stopped``, if given, ends it.

    Raises:
        OSError: the folder cannot be watched, such as beyond the system's limit on watched folders.
        RuntimeError: likewise.
    """
    from watchfiles import watch

    found = watch(
        folder,
        watch_filter=lambda _, path: Path(path).suffix.lower() in VIDEO_SUFFIXES,
        stop_event=stopped,
        debounce=_SETTLE,
        rust_timeout=_FIRST_LOOK,
        yield_on_timeout=True,
        raise_interrupt=stopped is None,
    )
    yield from itertools.islice(found, 1)
    yield from filter(None, found)


class Watcher:
    """Keeps an index up to date with a folder; a context manager.

    Attributes:
        folder: the folder, with all folders below.
        index: an index that exists; its model and sampling are used. That of the folder itself loses videos
            that are deleted.
        state: progress, the last error or the last video that failed, for the page; "" while the index is up
            to date.
    """

    def __init__(self, folder: Path, index: Path, log: Callable[[str], None]) -> None:
        self.folder, self.index, self.state = folder, index, "looking for new videos"
        self._log = log
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watcher:
        # the default handlers would end the server without `__exit__`, and leave the process running
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, lambda got, _: sys.exit(128 + got))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._interrupt()
        self._thread.join(_STOP_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _interrupt(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # finished videos are kept

    def _run(self) -> None:
        try:
            self._watch()
        except (OSError, RuntimeError) as error:  # such as the system's limit on watched folders
            self.state = f"Error: {self.folder} is no longer watched: {error}"
            self._log(self.state)

    def _watch(self) -> None:
        from watchfiles import Change

        own = own_index([Path(os.path.realpath(self.folder))], cache_folder())
        is_own = own == self.index.absolute()  # others may hold videos of more folders
        for changes in iter_changes(self.folder, self._stopped):
            self._encode(prune=is_own and any(change is Change.deleted for change, _ in changes))

    def _encode(self, *, prune: bool) -> None:
        command = [sys.executable, "-m", "vopcli", "encode", str(self.folder), str(self.index)]
        command += ["--prune"] * prune
        self._process = subprocess.Popen(  # noqa: S603  (this program, with paths that the user named)
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the server alone, which then ends this process
        )
        lines, failed = [""], ""
        if self._stopped.is_set():  # meanwhile
            self._interrupt()
        with self._process as process:
            for line in process.stderr or ():
                lines = [*lines[-9:], line.strip()]
                self.state = lines[-1]
                if line.startswith("Failed: "):
                    failed = lines[-1]
                    self._log(failed)
        if self._stopped.is_set():
            return
        is_fine = process.returncode in {0, EXIT_SOME_FAILED}
        error = next((line for line in lines if line.startswith("Error: ")), lines[-1])
        self.state = failed if is_fine else error
        self._log(f"{self.folder}: {lines[-1] if is_fine else error}")
