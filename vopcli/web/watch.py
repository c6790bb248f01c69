"""Encode new and changed videos of a folder in the background: `vop encode` in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

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
        state: progress or the last error, for the page; "" while the index is up to date.
    """

    def __init__(self, folder: Path, index: Path, log: Callable[[str], None]) -> None:
        self.folder, self.index, self.state = folder, index, "looking for new videos"
        self._log = log
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # finished videos are kept
        self._thread.join(_STOP_SECONDS)
        if process is not None and process.poll() is None:
            process.kill()

    def _run(self) -> None:
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
        lines = [""]
        with self._process as process:
            for line in process.stderr or ():
                lines = [*lines[-9:], line.strip()]
                self.state = lines[-1]
        if self._stopped.is_set():
            return
        is_fine = process.returncode in {0, EXIT_SOME_FAILED}
        error = next((line for line in lines if line.startswith("Error: ")), lines[-1])
        self.state = "" if is_fine else error
        self._log(f"{self.folder}: {lines[-1] if is_fine else error}")
