"""Compare results of ``vop eval --json``: how far the models differ, and on which queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError, UsageError, format_name, format_value
from vopcli.evaluation.bootstrap import Interval, RankComparison, compare_ranks, recall_intervals
from vopcli.evaluation.published import DIRECTIONS
from vopcli.evaluation.results import EvalResult, read_results


@dataclass(frozen=True)
class CaptionChange:
    """A caption whose rank differs from the baseline's; ``first`` is the video that the model ranks first."""

    caption: str
    video: str
    first: str
    rank_before: float
    rank: float


@dataclass(frozen=True)
class DirectionComparison:
    """One direction of a model, compared with the baseline.

    Attributes:
        recall: R@K in percent by K.
        against_baseline: None for the baseline itself.
        most_won: captions whose rank improved most; None for the baseline and for v2t.
        most_lost: captions whose rank worsened most.
    """

    recall: dict[int, Interval]
    against_baseline: RankComparison | None = None
    most_won: Sequence[CaptionChange] | None = None
    most_lost: Sequence[CaptionChange] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document; fields that are None are left out."""
        document: dict[str, Any] = {
            "recall": {f"R@{depth}": asdict(interval) for depth, interval in self.recall.items()}
        }
        if self.against_baseline:
            listed = {"most_won": self.most_won, "most_lost": self.most_lost}
            document["against_baseline"] = self.against_baseline.to_json() | {
                name: [asdict(change) for change in changes]
                for name, changes in listed.items()
                if changes is not None
            }
        return document


@dataclass(frozen=True)
class ComparedModel:
    """A model of a comparison.

    Attributes:
        name: its target, with the pooling and the file where these are needed to tell models apart.
        file: the file it was read from.
        result: its result of `vop eval`.
        directions: its metrics compared with the baseline's, by direction.
    """

    name: str
    file: Path
    result: EvalResult
    directions: dict[str, DirectionComparison] = field(default_factory=dict)

    def ranks(self, direction: str) -> NDArray[np.float64]:
        """Return the rank of each query in a direction (N,)."""
        return self.result.metrics.by_direction[direction].ranks


@dataclass(frozen=True)
class ModelComparison:
    """Models measured on the same captions, each compared with the baseline."""

    baseline: ComparedModel
    models: Sequence[ComparedModel]

    @property
    def num_captions(self) -> int:
        """Captions that were compared."""
        return len(self.baseline.result.answers)

    @property
    def num_videos(self) -> int:
        """Videos that the captions describe."""
        return self.baseline.result.metrics.v2t.num_queries

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of ``vop compare --json``."""
        result = self.baseline.result
        return {
            "baseline": self.baseline.name,
            "dataset": result.dataset.value if result.dataset else None,
            "split": result.split,
            "ties": result.metrics.ties.value,
            "num_captions": self.num_captions,
            "num_videos": self.num_videos,
            "models": [
                {
                    "model": model.name,
                    "file": str(model.file),
                    "pooling": model.result.pooling,
                    **{name: direction.to_json() for name, direction in model.directions.items()},
                }
                for model in self.models
            ],
        }


def compare_files(
    files: Sequence[Path], *, baseline: str | None = None, num_shown: int = 3, seed: int = 0
) -> ModelComparison:
    """Compare each model in the files with a baseline, query by query, in both directions.

    Captions of one video are resampled together, or the intervals of t2v would be too narrow. The poolings
    of the models may differ, and are then part of their names.

    Args:
        files: each holds one result of ``vop eval --json``, or a list of them.
        baseline: name of a model or of a file, which stands for its first model; None: the first model.
        num_shown: captions to list whose rank improved, and worsened, by the largest ratio.
        seed: of the bootstrap.

    Raises:
        UsageError: there are fewer than two models, or none has the name `baseline`.
        DataError: a file is damaged or of another kind, or the captions or videos differ.
    """
    models = _named([(file, result) for file in files for result in read_results(file)])
    if len(models) < 2:
        raise UsageError("one model alone cannot be compared", hint="give two files, or one with two models")
    first = _find(models, baseline)
    for model in models:
        _check_same(first, model)
    groups = _video_numbers(first.result)
    for model in models:
        for direction in DIRECTIONS:
            owner = groups if direction == "t2v" else None
            model.directions[direction] = _compare(first, model, direction, owner, num_shown, seed)
    return ModelComparison(first, models)


def _video_numbers(result: EvalResult) -> NDArray[np.int64]:
    """Return a number (Q,) for each caption that is equal for captions of one video."""
    return np.unique(np.array([answer.video for answer in result.answers]), return_inverse=True)[1]


def result_intervals(result: EvalResult, *, seed: int = 0) -> dict[tuple[str, str], Interval]:
    """Return the bootstrap interval of each recall by direction and name, such as ("t2v", "R@1").

    Empty where queries have several ranks, as under ``clip4clip``.
    """
    found = {}
    for name, direction in result.metrics.by_direction.items():
        if direction.num_ranks == direction.num_queries:
            groups = _video_numbers(result) if name == "t2v" else None
            depths = tuple(direction.recall_percent)
            recall = recall_intervals(direction.ranks, groups=groups, depths=depths, seed=seed)
            found.update({(name, f"R@{depth}"): interval for depth, interval in recall.items()})
    return found


def _compare(
    first: ComparedModel,
    model: ComparedModel,
    direction: str,
    groups: NDArray[np.int64] | None,
    num_shown: int,
    seed: int,
) -> DirectionComparison:
    recall = recall_intervals(model.ranks(direction), groups=groups, seed=seed)
    if model is first:
        return DirectionComparison(recall)
    change = compare_ranks(first.ranks(direction), model.ranks(direction), groups=groups, seed=seed)
    if direction != "t2v":
        return DirectionComparison(recall, change)
    won, lost = (_largest_changes(first, model, num_shown, sign=sign) for sign in (1, -1))
    return DirectionComparison(recall, change, won, lost)


def _named(found: Sequence[tuple[Path, EvalResult]]) -> list[ComparedModel]:
    """Name each model by its target, its pooling where these differ, and its file where all else is equal."""
    names = [result.target for _, result in found]
    if len({result.pooling for _, result in found}) > 1:
        names = [f"{result.target} pooled by {result.pooling}" for _, result in found]
    return [
        ComparedModel(f"{file}:{name}" if names.count(name) > 1 else name, file, result)
        for (file, result), name in zip(found, names, strict=True)
    ]


def _find(models: Sequence[ComparedModel], baseline: str | None) -> ComparedModel:
    if baseline is None:
        return models[0]
    for model in models:
        if baseline in (model.name, model.result.target, str(model.file)):
            return model
    known = ", ".join(model.name for model in models)
    raise UsageError(f"no model has the name {format_value(baseline)}", hint=f"name one of {known}")


def _check_same(first: ComparedModel, other: ComparedModel) -> None:
    """Refuse models that were measured on different captions or videos, or by different rules.

    Raises:
        DataError: they were; the message names the first difference.
    """
    for model in (first, other):
        if any(item.num_ranks != item.num_queries for item in model.result.metrics.by_direction.values()):
            raise DataError(
                f"{model.file} has several ranks for some queries, as --ties clip4clip counts them",
                hint="evaluate again with another --ties, such as average",
            )
    pair = f"{first.name} ({first.file}) and {other.name} ({other.file})"
    facts = [_protocol(model.result) for model in (first, other)]
    for name, value in facts[0].items():
        if facts[1][name] != value:
            raise DataError(
                f"{pair} differ in {name}: {value} and {facts[1][name]}",
                hint="evaluate both on the same data and split with the same --ties",
            )
    for mine, theirs in zip(first.result.answers, other.result.answers, strict=True):
        if (mine.caption, mine.video) != (theirs.caption, theirs.video):
            raise DataError(
                f"{pair} have different captions: "
                f"{format_value(mine.caption)} of {format_name(mine.video)}, and "
                f"{format_value(theirs.caption)} of {format_name(theirs.video)}",
                hint="evaluate both on the same captions",
            )


def _protocol(result: EvalResult) -> dict[str, Any]:
    directions = result.metrics.by_direction.values()
    return {
        "dataset": result.dataset.value if result.dataset else None,
        "split": result.split,
        "rule for equal scores": result.metrics.ties.value,
        "number of captions": len(result.answers),
        "number of videos": result.metrics.v2t.num_queries,
        "gallery": [direction.gallery_size for direction in directions],
    }


def _largest_changes(
    first: ComparedModel, model: ComparedModel, count: int, *, sign: int
) -> list[CaptionChange]:
    """Return the captions whose rank changed by the largest ratio, earlier captions first among equals."""
    before, after = first.ranks("t2v").tolist(), model.ranks("t2v").tolist()
    gain = [sign * math.log(old / new) for old, new in zip(before, after, strict=True)]
    changed = sorted((i for i in range(len(gain)) if gain[i] > 0), key=lambda i: -gain[i])
    answers = model.result.answers
    return [
        CaptionChange(answers[i].caption, answers[i].video, answers[i].first, before[i], after[i])
        for i in changed[:count]
    ]
