"""Tune every variant on the demo set with several seeds, and write the table.

Run: python benchmarks/study.py DIR, where `vop demo DIR` and its first command, `vop extract-frames`, were
run before. What an interrupted study has finished is not trained again; `--from-file` only writes the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from side_by_side import machine, markdown_table, write_results

from vopcli.clip.device import DTYPES
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Sides, Variant
from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.datasets.demo.folder import CAPTIONS, SETTINGS_NAME, STORE, STUDY
from vopcli.datasets.demo.scenes import OPPOSITES
from vopcli.datasets.splits import TokenisedSplit, tokenise_split
from vopcli.evaluation.embed import Embedded, embed, measure
from vopcli.files.atomic import atomic_path
from vopcli.progress import Progress, SilentProgress
from vopcli.reports.groups import mean_and_deviation
from vopcli.training.prepare import Prepared, TrainRequest, prepare
from vopcli.training.train import run

TEST: Final = "test"
RUNS: Final = "runs"
STUDY_NAME: Final = "study.json"
EPOCHS: Final = 12
SEEDS: Final = (0, 1, 2)
# What trains the backbone's own tensors has default rates for OpenAI's; these are searched for demo-tiny.
RATES: Final = {Variant.FULL: 1e-3, Variant.BIAS: 1e-2, Variant.PROJ: 3e-3, Variant.PARTIAL: 3e-3}
COLUMNS: Final = ("variant", "trained", "t2v R@1", "v2t R@1", "direction")


@dataclass(frozen=True)
class DemoScore:
    """What a model reaches on the demo's test videos; all in percent.

    Attributes:
        t2v_recall: R@1 of captions such as "a red circle goes to the right".
        v2t_recall: R@1 of the videos.
        direction: by change, share of videos that fit their own caption better than the opposite one's.
    """

    t2v_recall: float
    v2t_recall: float
    direction: dict[str, float]

    @property
    def mean_direction(self) -> float:
        """The mean over all changes; a guess is right for 50."""
        return float(np.mean(list(self.direction.values())))


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
                num_trained = run(prepared, progress).plan.num_trained
                scores.append(score(prepared))
                task.advance()
            rows.append(StudyRow(name, num_trained, scores))
            progress.note("  ".join(rows[-1].cells()))
    study = Study(epochs, seeds, prepared.precision.value, rows)
    with atomic_path(folder / STUDY / STUDY_NAME) as aside:
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


def demo_config(folder: Path, variant: Variant, *, epochs: int, seed: int = 0) -> Config:
    """Return the settings of a demo folder, as seen from the current one."""
    config = load_config(folder / SETTINGS_NAME)
    return replace(
        config,
        data=replace(config.data, frames=str(folder / STORE), captions=str(folder / CAPTIONS)),
        tuning=replace(config.tuning, variant=variant),
        training=replace(config.training, epochs=epochs, seed=seed, output=str(folder / RUNS)),
    )


def score(prepared: Prepared) -> DemoScore:
    """Measure a model, as it is now, on the demo's test videos."""
    model, data = prepared.model.eval(), prepared.data
    dtype, quiet = DTYPES[prepared.precision], SilentProgress()
    captions = tokenise_split(data, data.annotations.split(TEST), max_tokens=model.max_tokens)
    embedded = embed(model, data.store, captions, dtype, progress=quiet)
    opposite = tuple(_opposite(text) for text in captions.texts)
    tokens, _ = Tokenizer().tokenize(opposite, max_tokens=model.max_tokens)
    swapped = replace(captions, texts=opposite, tokens=tokens)
    against = embed(model, data.store, swapped, dtype, progress=quiet)
    metrics = measure(embedded, captions)
    return DemoScore(
        metrics.t2v.recall_percent[1], metrics.v2t.recall_percent[1], _direction(captions, embedded, against)
    )


def _direction(captions: TokenisedSplit, own: Embedded, against: Embedded) -> dict[str, float]:
    videos = own.video[captions.owner]  # (Q, E)
    is_right = (videos * own.text).sum(axis=1) > (videos * against.text).sum(axis=1)
    changes = np.array([text.rsplit(" ", 1)[-1] for text in captions.texts])
    return {str(change): 100.0 * float(is_right[changes == change].mean()) for change in np.unique(changes)}


def _opposite(text: str) -> str:
    head, change = text.rsplit(" ", 1)
    return f"{head} {OPPOSITES[change]}"


def report(study: Study) -> str:
    """Write a row for each variant, with a note on how it was measured."""
    return (
        f"# All variants on the demo set\n\n144 test videos; {study.epochs} epochs, seeds "
        f"{', '.join(map(str, study.seeds))}: mean and sample deviation in percent. Direction: fraction "
        "of the videos that fit their caption better than the same with the opposite movement; a guess is "
        f"right for 50. Products in {study.precision}; {machine()}.\n\n"
        + markdown_table(COLUMNS, [row.cells() for row in study.rows])
    )


def read_study(path: Path) -> Study:
    """Read the study.json of a finished study."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        StudyRow(row["name"], row["num_trained"], [DemoScore(**score) for score in row["scores"]])
        for row in document["rows"]
    ]
    return Study(document["epochs"], tuple(document["seeds"]), document["precision"], rows)


def main() -> None:
    """Run the study, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `vop demo` whose frames are extracted")
    parser.add_argument("--from-file", action="store_true", help="only write the table of a finished study")
    arguments = parser.parse_args()
    folder = arguments.demo
    study = (
        read_study(folder / STUDY / STUDY_NAME)
        if arguments.from_file
        else run_study(folder, progress=SilentProgress())
    )
    write_results("study", report(study))


if __name__ == "__main__":
    main()
