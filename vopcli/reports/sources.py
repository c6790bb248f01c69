"""Read the sources of a report: run folders, and files that `vop eval --json` wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Final

from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.config.load import to_dict
from vopcli.config.schema import TrainingConfig, TuningConfig
from vopcli.errors import DataError, UsageError
from vopcli.evaluation.compare import result_intervals
from vopcli.evaluation.published import DIRECTIONS, METRICS, SENTENCE_METRICS, comparable_dataset
from vopcli.evaluation.results import EvalResult, read_results
from vopcli.evaluation.runs import SUMMARY_NAME, Run, TrainedOn, is_run, read_run
from vopcli.methods.registry import METHODS
from vopcli.reports.groups import MeasuredRun

# settings of the section training that change no result, or that the runs of a group may differ in
_NOT_SETTINGS: Final = frozenset({"seed", "output", "compile", "checkpointing", "micro_batch", "auto_batch"})
_HINT: Final = "name run folders, such as runs/*, or files that `vop eval --json` wrote"


@dataclass(frozen=True)
class Sources:
    """Sources of a report.

    Attributes:
        measured: each model with its metrics.
        runs: the run folders among the sources, with metrics on the validation set.
        results: of `vop eval`.
    """

    measured: list[MeasuredRun]
    runs: list[MeasuredRun]
    results: list[EvalResult]


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read run folders and files that `vop eval --json` wrote.

    Raises:
        DataError: a path is neither of the two, or damaged.
    """
    sources = Sources([], [], [])
    for path in paths:
        if is_run(path):
            sources.runs.append(from_run(read_run(path)))
            sources.measured.append(sources.runs[-1])
        elif path.is_dir():
            raise DataError(f"{path} is not a finished run: it has no {SUMMARY_NAME}", hint=_HINT)
        else:
            results = read_results(path)
            sources.results.extend(results)
            sources.measured.extend(from_result(result) for result in results)
    return replace(sources, measured=_tell_apart(sources.measured))


def _tell_apart(measured: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """Name the data of runs that are described alike but were measured on different captions or videos."""
    held: dict[str, set[str]] = {}
    for item in measured:
        held.setdefault(item.on, set()).add(item.data)
    return [
        replace(item, on=f"{item.on}, data {item.data}") if len(held[item.on]) > 1 else item
        for item in measured
    ]


def _hash_answers(result: EvalResult) -> str:
    """Hash captions and names of videos, which do not depend on the folders of a frame store."""
    pairs = sorted(f"{PurePath(answer.video).stem}\t{answer.caption}" for answer in result.answers)
    return hashlib.sha256("\n".join(pairs).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def from_run(run: Run) -> MeasuredRun:
    """Return a run with its metrics on the validation set and its log."""
    data, tuning, selected = run.config.data, run.config.tuning, run.selected.metrics
    names = [(direction, name) for direction in DIRECTIONS for name in _metrics(data.queries)]
    return MeasuredRun(
        name=str(run.folder),
        tuning=tuning,
        settings={
            "weights": run.config.backbone.model,
            "num_frames": run.num_frames,
            **_settings(tuning, run.config.training, run.trained_on),
        },
        seed=None if METHODS[tuning.variant].is_idle else run.seed,
        num_trained=run.num_trained,
        on=f"validation{_size_mark(run.other_size)}: {run.selected.on}{_found_part(run.found_ratio)}"
        f"{_size_part(run.other_size)}{_queries_part(data.dataset, data.queries)}",
        data=run.trained_on.data_sha256[:8],
        is_evaluated=False,
        dataset=comparable_dataset(data.dataset, data.queries),
        metrics={
            (direction, name): selected[f"{direction} {name}"]
            for direction, name in names
            if f"{direction} {name}" in selected
        },
        log=run.log,
        num_epochs=run.config.training.epochs,
    )


def from_result(result: EvalResult) -> MeasuredRun:
    """Return a model with the metrics of `vop eval`."""
    t2v = result.metrics.t2v
    pooled = "" if result.pooling == "mean" else f", frames pooled by {result.pooling}"
    return MeasuredRun(
        name=result.target,
        tuning=result.tuning,
        settings={
            "weights": result.weights,
            "num_frames": result.num_frames,
            **_settings(result.tuning, result.training, result.trained_on),
        },
        seed=result.seed,
        num_trained=result.num_trained,
        on=f"{result.split}{_size_mark(result.data.other_size)}: {t2v.num_queries:,} queries, "
        f"{t2v.gallery_size:,} videos, ties {t2v.ties.value}{pooled}{_found_part(result.data.found_ratio)}"
        f"{_size_part(result.data.other_size)}{_skipped_part(result)}"
        f"{_queries_part(result.dataset, result.queries)}",
        data=_hash_answers(result),
        is_evaluated=True,
        dataset=comparable_dataset(result.dataset, result.queries),
        metrics={
            (name, metric): direction.by_name[metric]
            for name, direction in result.metrics.by_direction.items()
            for metric in _metrics(result.queries)
        },
        intervals=result_intervals(result),
        measured=result.metrics,
    )


def _metrics(queries: QueryUnit) -> Sequence[str]:
    is_sentences = queries is QueryUnit.SENTENCES
    return list(dict.fromkeys([*METRICS, *SENTENCE_METRICS])) if is_sentences else METRICS


def _queries_part(dataset: DatasetName | None, queries: QueryUnit) -> str:
    name = dataset.value if dataset else "the captions"
    return f", single sentences of {name}" if queries is QueryUnit.SENTENCES else ""


def _found_part(found_ratio: float) -> str:
    return "" if found_ratio == 1 else f", only {100 * found_ratio:.1f} % of the videos"


def _size_mark(other_size: str) -> str:
    return ", other size" if other_size else ""


def _size_part(other_size: str) -> str:
    return f", not the published size: {other_size}" if other_size else ""


def _skipped_part(result: EvalResult) -> str:
    skipped = len(result.data.skipped)
    return f", {skipped:,} videos left out by data.skip" if skipped else ""


def _settings(
    tuning: TuningConfig, training: TrainingConfig | None, trained_on: TrainedOn | None
) -> dict[str, Any]:
    """Return the settings that identify a run, excluding the seed."""
    method = METHODS[tuning.variant]
    settings = {name: value for name, value in to_dict(tuning).items() if name in method.settings}
    if method.is_idle:
        return settings
    if training:
        settings |= {name: value for name, value in to_dict(training).items() if name not in _NOT_SETTINGS}
    if trained_on:
        settings |= {
            "sampling": trained_on.sampling,
            "max_tokens": trained_on.max_tokens,
            "data": trained_on.data_sha256[:8],
        }
    return settings


def check_same_captions(results: Sequence[EvalResult]) -> None:
    """Check that results can be shown side by side, caption by caption.

    Raises:
        UsageError: ``results`` is empty, or measured on different captions.
    """
    if not results:
        raise UsageError(
            "run folders hold no ranks of single captions", hint="add files that `vop eval --json` wrote"
        )
    captions = [[(answer.caption, answer.video) for answer in result.answers] for result in results]
    if any(other != captions[0] for other in captions):
        raise UsageError(
            "the results were measured on different captions, and cannot be shown side by side",
            hint="omit --frames, or name results of one split",
        )
