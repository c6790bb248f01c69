"""Read what a report is made of: run folders, and files that `vop eval --json` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from vopcli.config.choices import DatasetName
from vopcli.config.load import build_config, plain
from vopcli.config.schema import TrainingConfig, TuningConfig
from vopcli.errors import ConfigError, DataError, UsageError
from vopcli.evaluation.results import read_results
from vopcli.evaluation.runs import Run, is_run, read_run
from vopcli.methods.registry import METHODS
from vopcli.reports.groups import Measured
from vopcli.reports.tables import FIGURES, WAY_TITLES

# of the section training, what changes no result, or is what runs of a group may differ in
_NOT_SETTINGS: Final = frozenset({"seed", "output", "compile", "checkpointing", "micro_batch", "auto_batch"})
_LARGEST: Final = 10**15  # no count of ranks or parameters is larger
_HINT: Final = "name run folders, such as runs/*, or files that `vop eval --json` wrote"


@dataclass(frozen=True)
class Sources:
    """What was read.

    Attributes:
        measured: each model with its figures.
        runs: the run folders among the sources.
        results: the documents of `vop eval`.
    """

    measured: list[Measured]
    runs: list[Run]
    results: list[Mapping[str, Any]]


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read run folders and files that `vop eval --json` wrote.

    Raises:
        DataError: one is neither of the two, or damaged.
    """
    sources = Sources([], [], [])
    for path in paths:
        if is_run(path):
            run = read_run(path)
            sources.runs.append(run)
            sources.measured.append(_from_run(run))
        elif path.is_dir():
            raise DataError(f"{path} is no finished run: it has no summary.json", hint=_HINT)
        else:
            for document in read_results(path):
                measured = _from_result(path, document)
                sources.measured.append(measured)
                sure = {"variant": measured.tuning.variant.value, "target": measured.name}
                sources.results.append({**document, **sure})
    return sources


def _from_run(run: Run) -> Measured:
    selected, summary = run.summary["selected"], run.summary
    figures = {
        (way, name): float(selected[f"{way} {name}"])
        for way in WAY_TITLES
        for name in FIGURES
        if _is_figure(selected.get(f"{way} {name}"))
    }
    settings = {
        "weights": run.config.backbone.weights,
        "num_frames": summary["num_frames"],
        **_settings(run.config.tuning, plain(run.config.training), run.trained_on),
    }
    return Measured(
        name=str(run.folder),
        tuning=run.config.tuning,
        settings=settings,
        seed=None if METHODS[run.config.tuning.variant].is_idle else summary["seed"],
        num_trained=summary["num_trained"],
        on=f"validation: {selected['on']}{_not_whole(summary['found_ratio'])}",
        is_evaluated=False,
        dataset=run.config.data.dataset,
        figures=figures,
    )


def _not_whole(found_ratio: float) -> str:
    return "" if found_ratio == 1 else f", only {100 * found_ratio:.1f} % of the videos"


def _settings(
    tuning: TuningConfig, training: Mapping[str, Any] | None, trained_on: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what tells runs apart that are no seeds of one another; only a run tells of its training."""
    method = METHODS[tuning.variant]
    settings = {name: value for name, value in plain(tuning).items() if name in method.settings}
    if method.is_idle:
        return settings
    known = {item.name for item in fields(TrainingConfig)} - _NOT_SETTINGS
    settings |= {name: value for name, value in (training or {}).items() if name in known}
    if trained_on is None:
        return settings
    max_tokens = trained_on["max_tokens"]
    return settings | {
        "sampling": str(trained_on["sampling"]),
        "max_tokens": None if max_tokens is None else _count(max_tokens),
        "data": str(trained_on["data_sha256"])[:8],
    }


def _from_result(path: Path, result: Mapping[str, Any]) -> Measured:
    try:
        tuning = build_config(TuningConfig, result["tuning"], source=str(path))
        training = result["training"]
        if training is not None:
            training = plain(build_config(TrainingConfig, training, source=str(path)))
        way = result["t2v"]
        sizes = int(way["num_queries"]), int(way["gallery_size"])
        dataset = DatasetName(result["dataset"]) if result.get("dataset") else None
        return Measured(
            name=str(result["target"]),
            tuning=tuning,
            settings={
                "weights": str(result["weights"]),
                "num_frames": _count(result["num_frames"]),
                **_settings(tuning, training, result["trained_on"]),
            },
            seed=None if result["seed"] is None else int(result["seed"]),
            num_trained=_count(result["num_trained"]),
            on="{}: {:,} queries, {:,} videos, ties {}".format(result["split"], *sizes, way["ties"])
            + ("" if result["pooling"] == "mean" else f", frames pooled by {result['pooling']}")
            + _not_whole(result["data"]["found_ratio"]),
            is_evaluated=True,
            dataset=dataset,
            figures={(way, name): _figure(result[way][name]) for way in WAY_TITLES for name in FIGURES},
        )
    except ConfigError as error:
        raise DataError(str(error), hint=_HINT) from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is no result of this version's `vop eval`: {error!r}", hint=_HINT) from error


def _is_figure(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= _LARGEST


def _figure(value: Any) -> float:
    if not _is_figure(value):
        raise ValueError(f"{value!r} is no figure")
    return float(value)


def _count(value: Any) -> int:
    return int(_figure(value))


def check_answers(results: Sequence[Mapping[str, Any]]) -> None:
    """Check that results can be shown side by side, caption by caption.

    Raises:
        UsageError: there is none, or they were measured on different captions.
        DataError: one has no ranks and first results.
    """
    if not results:
        raise UsageError(
            "run folders say nothing of single captions", hint="add what `vop eval --json` wrote"
        )
    asked = [_asked(result) for result in results]
    if any(captions != asked[0] for captions in asked):
        raise UsageError(
            "the results were measured on different captions, and cannot be shown side by side",
            hint="leave out --frames, or name results of one split",
        )


def _asked(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        answers, ranks = result["answers"], result["t2v"]["ranks"]
        is_sound = len(answers) == len(ranks) > 0 and all(1 <= rank <= _LARGEST for rank in ranks)
        if is_sound and all(isinstance(answer["first"], str) for answer in answers):
            return [(str(answer["caption"]), str(answer["video"])) for answer in answers]
    except (KeyError, TypeError):
        pass
    raise DataError(f"{result['target']} has no ranks and first results", hint=_HINT)
