"""Compare what ``vop eval --json`` printed of several models: how far they differ, and on which queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import DataError, UsageError
from vopcli.evaluation.bootstrap import Comparison, compare_ranks, recall_intervals
from vopcli.evaluation.results import HINT, read_results

WAYS: Final = ("t2v", "v2t")


@dataclass(frozen=True)
class Measured:
    """A model, and what was measured of it: one document of ``vop eval --json``.

    Attributes:
        name: tells it from the others: by its target, by how frames were pooled, and by its file.
        file: that the document is from.
        result: the document.
    """

    name: str
    file: Path
    result: dict[str, Any]

    def ranks(self, way: str) -> NDArray[np.float64]:
        """Return the rank of each query in a direction (N,)."""
        return np.array(self.result[way]["ranks"], np.float64)


def compare_files(
    files: Sequence[Path], *, baseline: str | None = None, num_shown: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Compare each model in the files with one of them, query by query, in both directions.

    Captions of one video are drawn together, so that the intervals of t2v are not too narrow. Ways to pool
    frames may differ, and are then part of the models' names.

    Args:
        files: each holds one document of ``vop eval --json``, or a list of them.
        baseline: name of a model or of a file, which then stands for its first model; None: the first.
        num_shown: captions to list whose rank became better, and worse, by the largest ratio.
        seed: of the bootstrap.

    Returns:
        A JSON document.

    Raises:
        UsageError: there are less than two models, or none is called ``baseline``.
        DataError: a file is no such file, or they are not of the same captions and videos.
    """
    models = _named([(file, result) for file in files for result in _read(file)])
    if len(models) < 2:
        raise UsageError("one model alone cannot be compared", hint="give two files, or one of two models")
    first = _find(models, baseline)
    for model in models:
        _check_same(first, model)
    videos = [answer["video"] for answer in first.result["answers"]]
    groups = np.unique(np.array(videos), return_inverse=True)[1]
    documents = []
    for model in models:
        document: dict[str, Any] = {
            "model": model.name,
            "file": str(model.file),
            "pooling": model.result["pooling"],
        }
        for way in WAYS:
            owner = groups if way == "t2v" else None
            recall = recall_intervals(model.ranks(way), groups=owner, seed=seed)
            document[way] = {"recall": {f"R@{depth}": value.to_dict() for depth, value in recall.items()}}
            if model is not first:
                change = compare_ranks(first.ranks(way), model.ranks(way), groups=owner, seed=seed)
                document[way]["against_baseline"] = _changes(first, model, way, change, num_shown)
        documents.append(document)
    return {
        "baseline": first.name,
        **{name: first.result.get(name) for name in ("dataset", "split", "ties")},
        "num_captions": len(videos),
        "num_videos": len(set(videos)),
        "models": documents,
    }


def _read(file: Path) -> list[dict[str, Any]]:
    results = read_results(file)
    for result in results:
        _check(file, result)
    return results


def _check(file: Path, result: Any) -> None:
    """Refuse what is not a document of ``vop eval --json``.

    Raises:
        DataError: it is none, or was measured by a rule that gives no single rank a query.
    """
    try:
        answers = result["answers"]
        is_sound = all(isinstance(result[key], str) for key in ("target", "pooling")) and bool(answers)
        is_sound &= all(isinstance(answer[key], str) for answer in answers for key in ("caption", "video"))
        ways = [result[way] for way in WAYS]
        for way in ways:
            ranks = np.array(way["ranks"], np.float64)
            is_sound &= (
                bool((np.isfinite(ranks) & (ranks >= 1)).all())
                and ranks.shape == np.array(way["queries"], np.int64).shape
            )
        is_sound &= len(ways[0]["ranks"]) == len(answers)
        is_sound &= len(ways[1]["ranks"]) == len({answer["video"] for answer in answers})
        has_several = any(way["num_ranks"] != way["num_queries"] for way in ways)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file} does not hold the ranks of a model", hint=HINT) from error
    if not is_sound:
        raise DataError(f"{file} is damaged: its ranks and captions do not fit", hint=HINT)
    if has_several:
        raise DataError(
            f"{file} has several ranks for queries with equal scores, as --ties clip4clip counts them",
            hint="measure again with another --ties, such as average",
        )


def _named(found: Sequence[tuple[Path, dict[str, Any]]]) -> list[Measured]:
    """Name each model by its target, its pooling where these differ, and its file where all that is alike."""
    names = [result["target"] for _, result in found]
    if len({result["pooling"] for _, result in found}) > 1:
        names = [f"{result['target']} pooled by {result['pooling']}" for _, result in found]
    return [
        Measured(f"{file}:{name}" if names.count(name) > 1 else name, file, result)
        for (file, result), name in zip(found, names, strict=True)
    ]


def _find(models: Sequence[Measured], baseline: str | None) -> Measured:
    if baseline is None:
        return models[0]
    for model in models:
        if baseline in (model.name, model.result["target"], str(model.file)):
            return model
    known = ", ".join(model.name for model in models)
    raise UsageError(f"no model is called {baseline!r}", hint=f"there are: {known}")


def _check_same(first: Measured, other: Measured) -> None:
    """Refuse models that were not measured on the same captions and videos in the same way.

    Raises:
        DataError: they differ; it says in what.
    """
    pairs = [(model.result, model.result["answers"]) for model in (first, other)]
    facts = [
        {
            "dataset": result.get("dataset"),
            "split": result.get("split"),
            "rule for equal scores": result.get("ties"),
            "number of captions": len(answers),
            "number of videos": len({answer["video"] for answer in answers}),
            "gallery": [result[way].get("gallery_size") for way in WAYS],
        }
        for result, answers in pairs
    ]
    for what, value in facts[0].items():
        if facts[1][what] != value:
            raise DataError(
                f"{first.name} ({first.file}) and {other.name} ({other.file}) differ in {what}: "
                f"{value} and {facts[1][what]}",
                hint="measure both on the same data and split with the same --ties",
            )
    for mine, theirs in zip(pairs[0][1], pairs[1][1], strict=True):
        if (mine["caption"], mine["video"]) != (theirs["caption"], theirs["video"]):
            raise DataError(
                f"{first.name} ({first.file}) and {other.name} ({other.file}) were asked other captions: "
                f"{mine['caption']!r} of {mine['video']}, and {theirs['caption']!r} of {theirs['video']}",
                hint="measure both on the same captions",
            )


def _changes(
    first: Measured, model: Measured, way: str, change: Comparison, num_shown: int
) -> dict[str, Any]:
    document = change.to_dict()
    if way == "t2v":
        document["most_won"] = _most(first, model, num_shown, sign=1)
        document["most_lost"] = _most(first, model, num_shown, sign=-1)
    return document


def _most(first: Measured, model: Measured, count: int, *, sign: int) -> list[dict[str, Any]]:
    """Return the captions whose rank changed by the largest ratio; of equals the first come first."""
    before, after = first.ranks("t2v").tolist(), model.ranks("t2v").tolist()
    gain = [sign * math.log(old / new) for old, new in zip(before, after, strict=True)]
    places = sorted((at for at in range(len(gain)) if gain[at] > 0), key=lambda at: -gain[at])
    answers, theirs = first.result["answers"], model.result["answers"]
    return [
        {
            "caption": answers[at]["caption"],
            "video": answers[at]["video"],
            "first": theirs[at].get("first"),
            "rank_before": before[at],
            "rank": after[at],
        }
        for at in places[:count]
    ]
