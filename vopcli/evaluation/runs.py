"""Read what `vop train` left in a run folder, without loading torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.errors import ConfigError, DataError, FileError

CONFIG_NAME: Final = "config.yaml"
SUMMARY_NAME: Final = "summary.json"
_MOST: Final = 1 << 53
_HINT: Final = "name another run, or train this one again"

ReadT = TypeVar("ReadT")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        config: its settings.
        summary: what `vop train` printed.
        log: the lines of its record, each with "step" and "kind" ("train" or "val").
    """

    folder: Path
    config: Config
    summary: dict[str, Any]
    log: list[dict[str, Any]]

    @property
    def trained_on(self) -> dict[str, Any]:
        """Which frames of a video, how much of a caption, and a hash of all captions and videos."""
        return {
            "sampling": self.summary["sampling"],
            "max_tokens": self.config.data.max_tokens,
            "data_sha256": self.summary["data_sha256"],
        }


def is_run(path: Path) -> bool:
    """Whether ``path`` is the folder of a finished run."""
    return (path / SUMMARY_NAME).is_file()


def check_finished(folder: Path) -> None:
    """Refuse the folder of a run that was begun and has not ended.

    Raises:
        DataError: it is one.
    """
    if (folder / CONFIG_NAME).is_file() and not is_run(folder):
        raise DataError(
            f"{folder} is a run that is not finished",
            hint="go on with it: `vop train` with the same settings and --resume",
        )


def read_run(folder: Path) -> Run:
    """Read a run folder; a record whose last line is cut off lacks that line.

    Raises:
        DataError: a file of it is missing or damaged.
    """
    try:
        config = load_config(folder / CONFIG_NAME)
    except ConfigError as error:
        raise DataError(str(error), hint=_HINT) from error
    summary = _read(folder / SUMMARY_NAME, _summary)
    has_log = (folder / LOG_NAME).exists()  # a run that trains nothing writes none
    return Run(folder, config, summary, _read(folder / LOG_NAME, _log) if has_log else [])


def _read(path: Path, parse: Callable[[str], ReadT]) -> ReadT:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=_HINT) from error


def _summary(text: str) -> dict[str, Any]:
    summary = json.loads(text)
    selected = summary["selected"]
    whole = (*(summary[name] for name in ("num_trained", "num_frames", "seed")), selected["epoch"])
    texts = [summary[name] for name in ("variant", "sampling", "data_sha256")]
    texts += [selected["rule"], selected["on"]]
    is_sound = all(isinstance(value, int) and 0 <= value < _MOST for value in whole)
    is_sound &= all(isinstance(text, str) for text in texts)
    if not (is_sound and 0 <= summary["found_ratio"] <= 1):
        raise ValueError("a value is of another type, or out of range")
    return {**summary}


def _log(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.split("\n")[:-1] if line.strip()]
    if not all(isinstance(line["step"], int) and isinstance(line["kind"], str) for line in lines):
        raise ValueError("a line has no step")
    return lines


LOG_NAME = "metrics.jsonl"
