"""Log of a run: JSON Lines, and the same values for TensorBoard."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

from vopcli.errors import BusyError, FileError
from vopcli.evaluation.runs import LOG_NAME
from vopcli.files.lock import try_lock


def open_log(folder: Path) -> io.FileIO:
    """Open the log of a run folder for appending, unbuffered, and lock it against other processes.

    Raises:
        BusyError: another process holds the lock.
        FileError: the log cannot be opened.
    """
    path = folder / LOG_NAME
    try:
        file = io.FileIO(path, "a")  # a buffer would be written once more when it is closed
    except OSError as error:
        raise FileError(path, error) from error
    try:
        is_ours = try_lock(file.fileno(), path)
    except OSError as error:  # a file system without locks
        file.close()
        raise FileError(path, error) from error
    if not is_ours:
        file.close()
        raise BusyError(
            f"{folder} is in use by another process", hint="wait until it ends, or name another --output"
        )
    return file


class RunLog:
    """Append metrics to the log of a run; a context manager."""

    def __init__(self, folder: Path, *, step: int, keep_bytes: int) -> None:
        """Continue at ``step``; the log is truncated to ``keep_bytes``, because later steps are repeated.

        Raises:
            BusyError: another process writes the log.
            FileError: the log cannot be written.
        """
        self._path = folder / LOG_NAME
        self._file = open_log(folder)
        try:
            self._file.truncate(keep_bytes)
            self._board = _Board(folder, step)
        except OSError as error:
            self._file.close()
            raise FileError(self._path, error) from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._file.close()
        try:
            self._board.close()
        except OSError as error:
            if kind is None:  # else the earlier error is the one to tell
                raise FileError(self._path, error) from error

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write ``values`` of ``step``; ``kind`` is "train" or "val".

        Raises:
            FileError: the log cannot be written.
        """
        line = json.dumps({"step": step, "kind": kind, **values}, allow_nan=False)
        try:
            rest = memoryview(line.encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
            self._board.add(step, kind, values)
        except OSError as error:
            raise FileError(self._path, error) from error

    @property
    def num_bytes(self) -> int:
        """Length of the log so far."""
        return os.fstat(self._file.fileno()).st_size  # a position is unknown in append mode before a write


class _Board:
    """Scalars for TensorBoard, written at once: the thread of `SummaryWriter` cannot report a full disk."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._writer = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)  # hides what an earlier process wrote from `step` on
        self._writer.write_event(Event(wall_time=time.time(), step=step, session_log=start))

    def add(self, step: int, kind: str, values: dict[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            if isinstance(value, (int, float)):
                summary = scalar(f"{kind}/{name}", value)
                self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
