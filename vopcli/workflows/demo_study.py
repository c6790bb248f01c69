"""Tune every variant on the demo set with several seeds: one table that says what each is good for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vopcli.config.choices import Sides, Variant
from vopcli.config.schema import Config
from vopcli.datasets.demo.folder import STUDY
from vopcli.files.atomic import written_aside
from vopcli.progress import Progress
from vopcli.reports.groups import mean_and_deviation
from vopcli.training.train import TrainRequest, prepare, run
from vopcli.workflows.demo_tune import DemoScore, demo_config, score

STUDY_NAME: Final = "study.json"
EPOCHS: Final = 12
SEEDS: Final = (0, 1, 2)
# What trains the backbone's own tensors has default rates for OpenAI's; these are searched for demo-tiny.
RATES: Final = {Variant.FULL: 1e-3, Variant.BIAS: 1e-2, Variant.PROJ: 3e-3, Variant.PARTIAL: 3e-3}
COLUMNS: Final = ("variant", "trained", "t2v R@1", "v2t R@1", "direction")


@dataclass(frozen=True)
class StudyRow:
    """What a variant reached on the test videos.

    Attributes:
        name: the variant, and the tower that gets prompts where it is only one.
        num_trained: how many numbers it trains.
        scores: in the order of the seeds; a single one where nothing is trained.
    """

    name: str
    num_trained: int
    scores: list[DemoScore]

    def cells(self) -> list[str]:
        """Return its row of the table: percentages, the mean and the deviation over the seeds."""
        figures = (
            [one.t2v_recall for one in self.scores],
            [one.v2t_recall for one in self.scores],
            [one.mean_direction for one in self.scores],
        )
        return [self.name, f"{self.num_trained:,}", *map(mean_and_deviation, figures)]


@dataclass(frozen=True)
class Study:
    """What all variants reached, each with every seed, and the number format of the products."""

    epochs: int
    seeds: tuple[int, ...]
    precision: str
    rows: list[StudyRow]


def run_study(
    folder: Path, *, progress: Progress, epochs: int = EPOCHS, seeds: tuple[int, ...] = SEEDS
) -> Study:
    """Train and measure all of it in a demo folder whose frames are extracted.

    What an interrupted study has finished is not trained again. Its figures are kept in ``study/study.json``.

    Raises:
        DataError: a run of an earlier study was made with other settings.
        ConfigError: the folder's settings make no sense.
    """
    entries = list(_entries(folder, epochs, seeds))
    rows = []
    with progress.task("Tuning", total=sum(len(runs) for _, runs in entries), unit="runs") as task:
        for name, runs in entries:
            scores = []
            for config in runs:
                prepared = prepare(TrainRequest(config, resume=True), progress)
                num_trained = run(prepared, progress)["num_trained"]
                scores.append(score(prepared))
                task.advance()
            rows.append(StudyRow(name, num_trained, scores))
            progress.note("  ".join(rows[-1].cells()))
    study = Study(epochs, seeds, prepared.precision.value, rows)
    with written_aside(folder / STUDY / STUDY_NAME) as aside:
        aside.write_text(json.dumps(dataclasses.asdict(study), indent=2), encoding="utf-8")
    return study


def _entries(folder: Path, epochs: int, seeds: tuple[int, ...]) -> Iterator[tuple[str, list[Config]]]:
    """Yield the name of each row and the settings of its runs."""
    for variant in Variant:
        drawn = seeds if variant is not Variant.ZERO_SHOT else seeds[:1]  # there is nothing to be drawn
        plain = [demo_config(folder, variant, epochs=epochs, seed=seed) for seed in drawn]
        yield variant.value, [_config(folder, config, Sides.BOTH) for config in plain]
        if variant is Variant.VOP:
            for sides in (Sides.TEXT, Sides.VISUAL):
                name = f"{variant.value}, {sides.value} prompts alone"
                yield name, [_config(folder, config, sides) for config in plain]


def _config(folder: Path, config: Config, sides: Sides) -> Config:
    output = folder / STUDY / (sides.value if sides is not Sides.BOTH else "")
    return replace(
        config,
        tuning=replace(config.tuning, sides=sides),
        training=replace(config.training, lr=RATES.get(config.tuning.variant), output=str(output)),
    )
