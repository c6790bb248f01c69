"""Encode new and changed videos of a folder in the background: `vop encode` in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vopcli.errors import EXIT_SOME_FAILED
from vopcli.video.find_videos import VIDEO_SUFFIXES

_FIRST_LOOK: Final = 500  # milliseconds until a watch without changes yields for the first time
_SETTLE: Final = 2000  # milliseconds in which further changes, such as of a file being copied, are collected
_STOP_SECONDS: Final = 10


class Watcher:
    """Keeps an index up to date with a folder; a context manager.

    Attributes:
        folder: the folder, with all folders below.
        index: an index that exists; its model and sampling are used.
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
        from watchfiles import watch

        # changes while a process encodes are collected, and yielded after it
        changes = watch(
            self.folder,
            watch_filter=lambda _, path: Path(path).suffix.lower() in VIDEO_SUFFIXES,
            stop_event=self._stopped,
            debounce=_SETTLE,
            rust_timeout=_FIRST_LOOK,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        is_first = True
        for changed in changes:
            if changed or is_first:
                self._encode()
            is_first = False

    def _encode(self) -> None:
        command = [sys.executable, "-m", "vopcli", "encode", str(self.folder), str(self.index)]
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
