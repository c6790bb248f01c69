"""Results of ``vop eval``, one for each model, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import DatasetName, QueryUnit, TieRule
from vopcli.config.load import build_config, to_dict
from vopcli.config.schema import TrainingConfig, TuningConfig
from vopcli.datasets.records import SplitReport
from vopcli.errors import ConfigError, DataError, FileError
from vopcli.evaluation.json_fields import get_count, get_number, get_optional, get_text, get_texts
from vopcli.evaluation.metrics import DEPTHS, DirectionMetrics, RetrievalMetrics
from vopcli.evaluation.published import DIRECTIONS, PublishedMetrics
from vopcli.evaluation.runs import Selection, TrainedOn

_HINT: Final = "name files that `vop eval --json` wrote"


NUM_TOP: Final = 5  # videos that a result names for each caption


@dataclass(frozen=True)
class Answer:
    """A caption, the name of the video it describes, and those of the top-ranked videos, best first."""

    caption: str
    video: str
    top: Sequence[str]

    @property
    def first(self) -> str:
        """Name of the video that is ranked first."""
        return self.top[0]


@dataclass(frozen=True)
class EvalResult:
    """Retrieval metrics of one model on one split.

    Attributes:
        target: the run folder or adapter file, or "zero-shot".
        num_trained: trained parameters.
        tuning: the variant and its settings.
        dataset: the benchmark; None for other captions.
        split: of the captions.
        queries: captions, or single sentences.
        pooling: how the frames of a video become one score, such as "mean".
        weights: the backbone, by name or path.
        selected: the epoch of the adapter; None unless ``target`` is a run folder.
        seed: of the run; None unless ``target`` is a run folder.
        training: settings of the run; None unless ``target`` is a run folder.
        trained_on: data of the run; None unless ``target`` is a run folder.
        max_tokens: longer captions are truncated.
        num_cut_captions: truncated captions.
        num_duplicate_captions: captions that repeat an earlier one.
        data: which videos of the split were found.
        published: metrics in the paper for these settings, by direction and name; None: there are none.
        metrics: of both directions, with the rank of each query.
        num_frames: frames of a video.
        answers: one for each t2v query, in the order of the ranks.
    """

    target: str
    num_trained: int
    tuning: TuningConfig
    dataset: DatasetName | None
    split: str
    queries: QueryUnit
    pooling: str
    weights: str
    selected: Selection | None
    seed: int | None
    training: TrainingConfig | None
    trained_on: TrainedOn | None
    max_tokens: int
    num_cut_captions: int
    num_duplicate_captions: int
    data: SplitReport
    published: PublishedMetrics | None
    metrics: RetrievalMetrics
    num_frames: int
    answers: Sequence[Answer]

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.tuning.variant.value

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of ``vop eval --json``."""
        return {
            "target": self.target,
            "num_trained": self.num_trained,
            "variant": self.variant,
            "tuning": to_dict(self.tuning),
            "dataset": self.dataset.value if self.dataset else None,
            "split": self.split,
            "queries": self.queries.value,
            "pooling": self.pooling,
            "weights": self.weights,
            "selected": self.selected.to_json() if self.selected else None,
            "seed": self.seed,
            "training": to_dict(self.training) if self.training else None,
            "trained_on": asdict(self.trained_on) if self.trained_on else None,
            "max_tokens": self.max_tokens,
            "num_cut_captions": self.num_cut_captions,
            "num_duplicate_captions": self.num_duplicate_captions,
            "data": self.data.to_json(),
            "published": self.published,
            **self.metrics.to_dict(with_ranks=True),
            "num_frames": self.num_frames,
            "answers": [asdict(answer) for answer in self.answers],
        }

    @classmethod
    def from_json(cls, document: Any, *, source: Path) -> EvalResult:
        """Rebuild a result from its JSON document, which a user may have edited; ``source`` is its file.

        Raises:
            DataError: a field is missing, of another type or out of range, or fields contradict each other.
        """
        try:
            result = cls(
                target=get_text(document, "target"),
                num_trained=get_count(document, "num_trained"),
                tuning=build_config(TuningConfig, document["tuning"], source="tuning"),
                dataset=get_optional(document, "dataset", lambda *field: DatasetName(get_text(*field))),
                split=get_text(document, "split"),
                # results of earlier versions have none
                queries=QueryUnit(get_text({"queries": QueryUnit.CAPTIONS.value, **document}, "queries")),
                pooling=get_text(document, "pooling"),
                weights=get_text(document, "weights"),
                selected=get_optional(document, "selected", Selection.from_field),
                seed=get_optional(document, "seed", get_count),
                training=get_optional(document, "training", _training),
                trained_on=get_optional(document, "trained_on", TrainedOn.from_field),
                max_tokens=get_count(document, "max_tokens"),
                num_cut_captions=get_count(document, "num_cut_captions"),
                num_duplicate_captions=get_count(document, "num_duplicate_captions"),
                data=_report(document["split"], document["data"]),
                published=get_optional(document, "published", _published),
                metrics=RetrievalMetrics(
                    _direction(document["t2v"]),
                    _direction(document["v2t"]),
                    TieRule(get_text(document, "ties")),
                ),
                num_frames=get_count(document, "num_frames"),
                answers=[_answer(answer) for answer in document["answers"]],
            )
            _check_lengths(result)
        except KeyError as error:
            raise DataError(
                f"{source} is not a result of this version's `vop eval`: {error} is missing", hint=_HINT
            ) from error
        except (ConfigError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{source} is damaged: {error}", hint=_HINT) from error
        return result


def read_results(path: Path) -> list[EvalResult]:
    """Read a file that ``vop eval --json`` wrote, with one model or several.

    Raises:
        FileError: `path` cannot be read.
        DataError: `path` holds something else, or is damaged.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", hint=_HINT) from error
    results = document if isinstance(document, list) else [document]
    if not results or not all(isinstance(result, dict) and "t2v" in result for result in results):
        raise DataError(f"{path} does not hold results of `vop eval`", hint=_HINT)
    return [EvalResult.from_json(result, source=path) for result in results]


def _training(document: Any, key: str) -> TrainingConfig:
    return build_config(TrainingConfig, document[key], source=key)


def _answer(document: Any) -> Answer:
    top = list(get_texts(document, "top"))
    if not top:
        raise ValueError("top is empty")
    return Answer(get_text(document, "caption"), get_text(document, "video"), top)


def _published(document: Any, key: str) -> PublishedMetrics:
    rows: Mapping[str, Any] = document[key]
    return {
        direction: {name: get_number(rows[direction], name) for name in rows[direction]}
        for direction in DIRECTIONS
        if direction in rows
    }


def _report(split: str, document: Any) -> SplitReport:
    without_captions, without_file, skipped, notes = (
        get_texts(document, name) for name in ("without_captions", "without_file", "skipped", "notes")
    )
    return SplitReport(
        split,
        get_count(document, "listed"),
        get_count(document, "with_captions"),
        get_optional(document, "with_file", get_count),
        get_count(document, "used"),
        get_count(document, "captions"),
        without_captions,
        without_file,
        skipped,
        notes,
        get_text({"other_size": "", **document}, "other_size"),  # results of earlier versions have none
        get_count({"ranges": 0, **document}, "ranges"),
    )


def _direction(document: Any) -> DirectionMetrics:
    protocol = get_text(document, "protocol")
    depths = dict.fromkeys([*DEPTHS, *(int(name[2:]) for name in document if name.startswith("R@"))])
    return DirectionMetrics(
        protocol=protocol,
        ties=TieRule(get_text(document, "ties")),
        scoring=get_text(document, "scoring"),
        uses_other_queries=bool(document["uses_other_queries"]),
        recall_percent={depth: get_number(document, f"R@{depth}", high=100) for depth in depths},
        median_rank=get_number(document, "MdR"),
        median_rank_lower=get_number(document, "MdR_lower"),
        mean_rank=get_number(document, "MnR"),
        num_queries=get_count(document, "num_queries"),
        num_ranks=get_count(document, "num_ranks"),
        num_tied_queries=get_count(document, "num_tied_queries"),
        gallery_size=get_count(document, "gallery_size"),
        queries=np.array(document["queries"], np.int64),
        ranks=_ranks(document["ranks"]),
    )


def _ranks(values: Any) -> NDArray[np.float64]:
    ranks = np.array(values, np.float64)
    if ranks.ndim != 1 or not (np.isfinite(ranks) & (ranks >= 1)).all():
        raise ValueError("a rank is not a number of at least 1")
    return ranks


def _check_lengths(result: EvalResult) -> None:
    """Compare the numbers of ranks with those of queries and answers.

    Raises:
        ValueError: they differ.
    """
    t2v, v2t = result.metrics.t2v, result.metrics.v2t
    expected = {"t2v": len(result.answers), "v2t": len({answer.video for answer in result.answers})}
    for name, direction in (("t2v", t2v), ("v2t", v2t)):
        lengths = {len(direction.ranks), len(direction.queries), direction.num_queries, expected[name]}
        if len(lengths) > 1 or not expected[name]:
            raise ValueError(f"{name} has {len(direction.ranks)} ranks for {expected[name]} queries")
