"""``vop eval --save-sims``: save the scores of a test, and those that QB-Norm is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vopcli.clip.shape import ClipShape
from vopcli.config.schema import Config
from vopcli.datasets.records import TRAIN, VAL, AnnotatedSplit
from vopcli.datasets.splits import (
    CaptionedStore,
    TokenisedSplit,
    open_captioned_store,
    split_for_training,
    tokenise_split,
)
from vopcli.errors import DataError, UsageError, format_value
from vopcli.evaluation.embed import Embedded, embed, embed_texts
from vopcli.evaluation.results import EvalResult
from vopcli.evaluation.score_file import SCORE_FORMAT, Similarities, write_similarities
from vopcli.files.atomic import refuse_existing
from vopcli.files.hdf5 import read_format_name
from vopcli.methods.model import VideoTextModel
from vopcli.progress import Progress, SilentProgress


@dataclass(frozen=True)
class SaveRequest:
    """Request to save the scores of an evaluation.

    Attributes:
        path: the file.
        num_bank: maximum number of training captions in QB-Norm's bank; 0: no bank.
        overwrite: replace an existing file.
    """

    path: Path
    num_bank: int
    overwrite: bool = False

    def check(self, num_targets: int, split: str) -> None:
        """Check that the scores can be saved, before the evaluation.

        Raises:
            UsageError: several targets are named, or the split is one that QB-Norm is fitted on.
            DataError: `path` exists and is not to be overwritten, or holds something else.
        """
        if num_targets > 1:
            raise UsageError(
                f"{self.path} can hold one model, but {num_targets} are named",
                hint="save each to its own file",
            )
        if self.num_bank and split in (TRAIN, VAL):
            raise UsageError(
                f"the split {format_value(split)} is evaluated, but QB-Norm takes its bank from train and "
                "its beta from val",
                hint="use --bank 0",
            )
        refuse_existing(self.path, overwrite=self.overwrite)
        if self.path.exists() and read_format_name(self.path) != SCORE_FORMAT.name:
            raise DataError(
                f"{self.path} does not hold saved scores and is not overwritten", hint="name another file"
            )


@dataclass(frozen=True)
class BankSource:
    """Data that QB-Norm is fitted on.

    Attributes:
        data: the store of the videos.
        train: captions of the bank.
        val: split that beta is chosen on.
        origin: where ``val`` comes from, in words.
    """

    data: CaptionedStore
    train: AnnotatedSplit
    val: AnnotatedSplit
    origin: str


def open_bank(config: Config, shape: ClipShape) -> BankSource:
    """Open the data that QB-Norm is fitted on, before the evaluation.

    Raises:
        DataError: videos for training are missing, or too few to hold any out.
        UsageError: the captions have no split ``train``.
    """
    data = open_captioned_store(config, SilentProgress(), shape=shape)
    try:
        return BankSource(data, *split_for_training(data, val_share=config.training.val_share))
    except UsageError as error:
        raise UsageError(
            f"{error}, and QB-Norm needs its captions", hint="save the scores without a bank: --bank 0"
        ) from None


def save_similarities(
    request: SaveRequest,
    bank: BankSource | None,
    model: VideoTextModel,
    result: EvalResult,
    test: tuple[Embedded, TokenisedSplit],
    dtype: torch.dtype,
    progress: Progress,
) -> None:
    """Write the scores of the test captions and of the bank, with the videos of test and of validation.

    Args:
        request: names the file.
        bank: data that QB-Norm is fitted on; None: the file gets no bank.
        model: the evaluated model.
        result: its metrics.
        test: embeddings and captions of the test.
        dtype: of the matrix products.
        progress: receives a warning when the batch size is halved.

    Raises:
        FileError: the file was created in the meantime, or the disk is full.
    """
    embedded, captions = test
    document = {**result.to_json(), "logit_scale": float(model.clip.logit_scale.detach().exp())}
    if bank is None:
        none = np.empty((0, 0), np.float32)
        content = Similarities(
            {**document, "val": None},
            embedded.rows(),
            captions.owner,
            np.empty((0, len(captions.videos)), np.float32),
            none,
            np.empty(0, np.int64),
            none,
        )
    else:
        kept = tokenise_split(
            bank.data, thin_out(bank.train, request.num_bank), max_tokens=captions.max_tokens
        )
        val_captions = tokenise_split(bank.data, bank.val, max_tokens=captions.max_tokens)
        text = embed_texts(model, kept, dtype, progress=progress)
        val_embedded = embed(
            model, bank.data.store, val_captions, dtype, progress=progress, pooling=embedded.pooling
        )
        content = Similarities(
            {**document, "val": bank.origin},
            embedded.rows(),
            captions.owner,
            replace(embedded, text=text).rows(),
            val_embedded.rows(),
            val_captions.owner,
            replace(val_embedded, text=text).rows(),
        )
    write_similarities(request.path, content, is_new=not request.overwrite)


def thin_out(split: AnnotatedSplit, count: int) -> AnnotatedSplit:
    """Keep at most ``count`` captions, evenly spaced, because the first ones belong to few videos."""
    num_captions = sum(len(video.captions) for video in split.videos)
    kept = set(np.linspace(0, num_captions - 1, min(count, num_captions)).round().astype(int).tolist())
    videos, at = [], 0
    for video in split.videos:
        captions = tuple(text for i, text in enumerate(video.captions, at) if i in kept)
        at += len(video.captions)
        if captions:
            videos.append(replace(video, captions=captions))
    return AnnotatedSplit(tuple(videos), split.report)
