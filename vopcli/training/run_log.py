"""The record of a run: one JSON object a line, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOG_NAME = "metrics.jsonl"


class RunLog:
    """Write the numbers of a run as they come; a context manager."""

    def __init__(self, folder: Path, *, step: int, keep_bytes: int) -> None:
        """Go on at ``step``, after the first ``keep_bytes`` of the log: what follows is computed again."""
        from tensorboardX import SummaryWriter

        self._file = (folder / LOG_NAME).open("ab")
        self._file.truncate(keep_bytes)
        self._board = SummaryWriter(str(folder), purge_step=step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write ``values`` of ``step``; ``kind`` is "train" or "val"."""
        line = json.dumps({"step": step, "kind": kind, **values}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    @property
    def num_bytes(self) -> int:
        """Length of the log so far."""
        return self._file.tell()
