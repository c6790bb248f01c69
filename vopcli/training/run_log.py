"""Log of a run: JSON Lines, and the same values for TensorBoard."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any, BinaryIO

from vopcli.errors import BusyError, FileError
from vopcli.evaluation.runs import LOG_NAME


def open_log(folder: Path) -> BinaryIO:
    """Open the log of a run folder for appending, and lock it against other processes.

    Raises:
        BusyError: another process holds the lock.
        FileError: the log cannot be opened.
    """
    path = folder / LOG_NAME
    try:
        file = path.open("ab")
    except OSError as error:
        raise FileError(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BusyError(
            f"{folder} is in use by another process", hint="wait until it ends, or name another --output"
        ) from error
    except OSError as error:  # a file system without locks
        file.close()
        raise FileError(path, error) from error
    return file


class RunLog:
    """Append metrics to the log of a run; a context manager."""

    def __init__(self, folder: Path, *, step: int, keep_bytes: int) -> None:
        """Continue at ``step``; the log is truncated to ``keep_bytes``, because later steps are repeated.

        Raises:
            BusyError: another process writes the log.
            FileError: the log cannot be written.
        """
        from tensorboardX import SummaryWriter

        self._path = folder / LOG_NAME
        self._file = open_log(folder)
        try:
            self._file.truncate(keep_bytes)
            self._board = SummaryWriter(str(folder), purge_step=step)
        except OSError as error:
            raise FileError(self._path, error) from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write ``values`` of ``step``; ``kind`` is "train" or "val".

        Raises:
            FileError: the log cannot be written.
        """
        line = json.dumps({"step": step, "kind": kind, **values}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise FileError(self._path, error) from error
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    @property
    def num_bytes(self) -> int:
        """Length of the log so far."""
        return self._file.tell()
