"""Run the demo's commands in one process, and count how often the first hit is what was asked for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vopcli.config.load import load_config
from vopcli.datasets.demo.folder import (
    INDEX,
    SETTINGS,
    STORE,
    TUNED_EPOCHS,
    TUNED_INDEX,
    TUNED_VARIANT,
    VIDEOS,
)
from vopcli.datasets.demo.scenes import COLOURS, SHAPES
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.progress import Progress
from vopcli.search.search import Hit, Index
from vopcli.workflows.demo_tune import DemoTuning, tune_demo

SHOWN_QUERIES: Final = ("a red circle", "a blue star", "a small green triangle", "a white square at the top")
DIRECTION_QUERIES: Final = ("a red circle goes to the right", "a red circle goes to the left")
_SHOWN_HITS: Final = 3


@dataclass(frozen=True)
class Answer:
    """A query and its best hits."""

    query: str
    hits: list[Hit]


@dataclass(frozen=True)
class DemoRun:
    """What the commands gave.

    Attributes:
        answers: some queries with their hits among all videos.
        num_queries: colours times shapes, each asked for once as "a red circle".
        num_right_first: of these queries, those whose first hit among all videos has both.
        num_right_first_test: the same among the videos of the test split alone.
    """

    answers: list[Answer]
    num_queries: int
    num_right_first: int
    num_right_first_test: int


@dataclass(frozen=True)
class TunedRun:
    """What tuning changed, and queries about directions with the tuned model's hits."""

    tuning: DemoTuning
    answers: list[Answer]


def extract_demo(folder: Path, *, progress: Progress) -> None:
    """Extract the frames of a demo folder; those that are there already are kept.

    Raises:
        DataError: a video cannot be decoded.
        ConfigError: the folder's settings make no sense.
    """
    config = load_config(folder / SETTINGS)
    extracted = extract(ExtractRequest([folder / VIDEOS], folder / STORE, size=config.data.size), progress)
    for path, reason in extracted.failed + extracted.failed_before + extracted.unreadable:
        raise DataError(f"{path}: {reason}", hint="make the demo set anew with --overwrite")


def run_demo(folder: Path, *, progress: Progress) -> DemoRun:
    """Extract the frames of a demo folder, encode and search; what is there is not done again.

    Raises:
        DataError: a video cannot be decoded, or a file of an earlier run does not fit.
        ConfigError: the folder's settings make no sense.
    """
    extract_demo(folder, progress=progress)
    weights, index_path = load_config(folder / SETTINGS).backbone.weights, folder / INDEX
    encode(EncodeRequest([folder / STORE], index_path, weights=weights), progress)
    index = Index(index_path, progress=progress)
    looks = list(itertools.product(COLOURS, SHAPES))
    ranked = index.search([f"a {colour} {shape}" for colour, shape in looks], top=len(index))
    first = [hits[0] for hits in ranked]
    first_test = [next(hit for hit in hits if hit.path.startswith("test/")) for hits in ranked]
    return DemoRun(
        _answers(index, SHOWN_QUERIES),
        num_queries=len(looks),
        num_right_first=_count_right(looks, first),
        num_right_first_test=_count_right(looks, first_test),
    )


def run_tuning(folder: Path, *, progress: Progress) -> TunedRun:
    """Tune a variant on a demo folder whose frames are extracted, encode with it, and search.

    Raises:
        DataError: a file of an earlier run does not fit.
        ConfigError: the folder's settings make no sense.
    """
    tuning = tune_demo(folder, TUNED_VARIANT, epochs=TUNED_EPOCHS, progress=progress)
    weights = load_config(folder / SETTINGS).backbone.weights
    index_path = folder / TUNED_INDEX
    encode(EncodeRequest([folder / STORE], index_path, weights=weights, adapter=tuning.run), progress)
    return TunedRun(tuning, _answers(Index(index_path, progress=progress), DIRECTION_QUERIES))


def _answers(index: Index, queries: tuple[str, ...]) -> list[Answer]:
    return [
        Answer(query, hits)
        for query, hits in zip(queries, index.search(queries, top=_SHOWN_HITS), strict=True)
    ]


def _count_right(looks: list[tuple[str, str]], first: list[Hit]) -> int:
    """Count the hits whose file name says the colour and shape that were asked for."""
    return sum(
        Path(hit.path).name.startswith(f"{'-'.join(look)}-") for look, hit in zip(looks, first, strict=True)
    )
