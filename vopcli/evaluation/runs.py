"""Read run folders of `vop train`, without loading torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.errors import ConfigError, DataError, FileError
from vopcli.evaluation.json_fields import get_count, get_number, get_optional, get_text
from vopcli.evaluation.published import DIRECTIONS

CONFIG_NAME: Final = "config.yaml"
SUMMARY_NAME: Final = "summary.json"
LOG_NAME: Final = "metrics.jsonl"
_HINT: Final = "name another run, or train this one again"

ReadT = TypeVar("ReadT")


@dataclass(frozen=True)
class Selection:
    """The epoch whose adapter a run keeps.

    Attributes:
        rule: how it was selected, in words.
        on: the data it was selected on, in words.
        epoch: counted from 0.
        metrics: on that data, such as "t2v R@1"; empty where they are left out.
    """

    rule: str
    on: str
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {"rule": self.rule, "on": self.on, "epoch": self.epoch, **self.metrics}

    @classmethod
    def from_field(cls, document: Any, key: str) -> Selection:
        """Read a selection from a field of a document.

        Raises:
            ValueError: a value is of another type, or out of range.
            TypeError: a value is of another type.
        """
        found = document[key]
        rule, on, epoch = get_text(found, "rule"), get_text(found, "on"), get_count(found, "epoch")
        metrics = {name: get_number(found, name) for name in found if name.startswith(DIRECTIONS)}
        return cls(rule, on, epoch, metrics)


@dataclass(frozen=True)
class TrainedOn:
    """The data of a run: which frames, the token limit of captions, and a hash of all captions and videos."""

    sampling: str
    max_tokens: int | None
    data_sha256: str

    @classmethod
    def from_field(cls, document: Any, key: str) -> TrainedOn:
        """Read the data of a run from a field of a document.

        Raises:
            ValueError: a value is out of range.
            TypeError: a value is of another type.
        """
        found = document[key]
        max_tokens = get_optional(found, "max_tokens", get_count)
        return cls(get_text(found, "sampling"), max_tokens, get_text(found, "data_sha256"))


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        config: its settings.
        selected: the epoch of its adapter.
        seed: of the run.
        num_trained: trained parameters.
        num_frames: frames of a video.
        found_ratio: fraction of the videos for training and validation that were found.
        other_size: how the sizes of its splits differ from the published ones; empty: they do not.
        trained_on: its data.
        log: lines of the log, each with "step" and "kind" ("train" or "val").
    """

    folder: Path
    config: Config
    selected: Selection
    seed: int
    num_trained: int
    num_frames: int
    found_ratio: float
    other_size: str
    trained_on: TrainedOn
    log: list[dict[str, Any]]


def is_run(path: Path) -> bool:
    """Whether ``path`` is the folder of a finished run."""
    return (path / SUMMARY_NAME).is_file()


def check_finished(folder: Path) -> None:
    """Refuse the folder of an unfinished run.

    Raises:
        DataError: `folder` holds an unfinished run.
    """
    if (folder / CONFIG_NAME).is_file() and not is_run(folder):
        raise DataError(
            f"{folder} is an unfinished run",
            hint="resume it: run `vop train` with the same settings and --resume",
        )


def read_run(folder: Path) -> Run:
    """Read a run folder; an incomplete last line of the log is ignored.

    Raises:
        DataError: a file of the run is missing or damaged.
    """
    try:
        config = load_config(folder / CONFIG_NAME)
    except ConfigError as error:
        raise DataError(str(error), hint=_HINT) from error
    log = folder / LOG_NAME  # missing where nothing was trained
    lines = _read(log, _parse_log) if log.exists() else []
    return _read(folder / SUMMARY_NAME, lambda text: _parse_summary(folder, config, json.loads(text), lines))


def _read(path: Path, parse: Callable[[str], ReadT]) -> ReadT:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=_HINT) from error


def _parse_summary(folder: Path, config: Config, summary: Any, log: list[dict[str, Any]]) -> Run:
    max_tokens = config.data.max_tokens
    return Run(
        folder,
        config,
        selected=Selection.from_field(summary, "selected"),
        seed=get_count(summary, "seed"),
        num_trained=get_count(summary, "num_trained"),
        num_frames=get_count(summary, "num_frames"),
        found_ratio=get_number(summary, "found_ratio", high=1),
        other_size="; ".join(_iter_other_sizes(summary)),
        trained_on=TrainedOn(get_text(summary, "sampling"), max_tokens, get_text(summary, "data_sha256")),
        log=log,
    )


def _iter_other_sizes(summary: Any) -> Iterator[str]:
    """Yield each split with how its size differs from the published one; older runs have none."""
    for split, report in dict(summary.get("data", {})).items():
        if text := get_text({"other_size": "", **report}, "other_size"):
            yield f"{split}: {text}"


def _parse_log(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.split("\n")[:-1] if line.strip()]
    if not all(isinstance(line["step"], int) and isinstance(line["kind"], str) for line in lines):
        raise ValueError("a line has no step or kind")
    return lines
