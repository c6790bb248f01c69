"""Tune a variant on the demo set, and measure what it is for: telling a direction from its opposite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vopcli.clip.device import DTYPES
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Variant
from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.datasets.demo.folder import CAPTIONS, SETTINGS, STORE
from vopcli.datasets.demo.scenes import OPPOSITES
from vopcli.datasets.splits import Captions, tokenise
from vopcli.evaluation.embed import Embedded, embed, measure
from vopcli.progress import Progress, SilentProgress
from vopcli.training.train import Prepared, TrainRequest, prepare, run

TEST: Final = "test"
RUNS: Final = "runs"


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
class DemoTuning:
    """A variant before and after it was tuned, and its run folder."""

    variant: str
    epochs: int
    before: DemoScore
    after: DemoScore
    run: Path


def tune_demo(folder: Path, variant: Variant, *, epochs: int, progress: Progress) -> DemoTuning:
    """Tune ``variant`` on the demo's training videos; a run that is there is gone on with.

    Raises:
        DataError: the run folder was made with other settings.
    """
    config = demo_config(folder, variant, epochs=epochs)
    request = TrainRequest(config, resume=True)
    plain = prepare(TrainRequest(demo_config(folder, Variant.ZERO_SHOT, epochs=epochs)), progress)
    prepared = prepare(request, progress)
    run(prepared, progress)
    return DemoTuning(variant.value, epochs, score(plain), score(prepared), request.folder)


def demo_config(folder: Path, variant: Variant, *, epochs: int, seed: int = 0) -> Config:
    """Return the settings of a demo folder, as seen from the current one."""
    config = load_config(folder / SETTINGS)
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
    captions = tokenise(data, data.annotations.split(TEST), max_tokens=model.max_tokens)
    embedded = embed(model, data.store, captions, dtype, progress=quiet)
    opposite = tuple(_opposite(text) for text in captions.texts)
    tokens, _ = Tokenizer().tokenize(opposite, max_tokens=model.max_tokens)
    swapped = replace(captions, texts=opposite, tokens=tokens)
    against = embed(model, data.store, swapped, dtype, progress=quiet)
    metrics = measure(embedded, captions)
    return DemoScore(
        metrics.t2v.recall_percent[1], metrics.v2t.recall_percent[1], _direction(captions, embedded, against)
    )


def _direction(captions: Captions, own: Embedded, against: Embedded) -> dict[str, float]:
    videos = own.video[captions.owner]  # (Q, E)
    is_right = (videos * own.text).sum(axis=1) > (videos * against.text).sum(axis=1)
    changes = np.array([text.rsplit(" ", 1)[-1] for text in captions.texts])
    return {str(change): 100.0 * float(is_right[changes == change].mean()) for change in np.unique(changes)}


def _opposite(text: str) -> str:
    head, change = text.rsplit(" ", 1)
    return f"{head} {OPPOSITES[change]}"
