"""Captioned videos of a frame store: the splits for training, validation and evaluation."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.schema import Config, DataConfig
from vopcli.datasets.benchmark import read_stored_annotations, require_benchmark
from vopcli.datasets.benchmarks.registry import find_splits
from vopcli.datasets.filter import iter_overlaps, require_complete
from vopcli.datasets.records import (
    TRAIN,
    VAL,
    AnnotatedSplit,
    Annotations,
    SplitReport,
    format_names,
    iter_other_sizes,
)
from vopcli.errors import DataError, UsageError, format_value
from vopcli.frames.recipe import other_frames, unlike_model
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.progress import Progress
from vopcli.video.sampling import requested_sampling
from vopcli.video.video_file import WHOLE

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionedStore:
    """A frame store with the captions of its videos.

    Attributes:
        store: the frame store.
        annotations: the splits, matched with the store.
        num_frames: number of frames of every video.
        max_tokens: longest caption by the settings; None: that of the model.
    """

    store: FrameStore
    annotations: Annotations
    num_frames: int
    max_tokens: int | None = None

    @property
    def sha256(self) -> str:
        """A hash of the data: of every caption, and the content of its video's frames."""
        items = self.store.items
        lines = [
            f"{name}\t{video.key}\t{items[video.key].content_sha256.hex()}\t{caption}"
            for name, split in self.annotations.splits.items()
            for video in split.videos
            for caption in video.captions
        ]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class TokenisedSplit:
    """A split with tokenised captions.

    Attributes:
        texts: (Q) the captions.
        tokens: (Q, L) int64 token ids.
        max_tokens: length that captions are truncated to.
        num_cut: number of truncated captions.
        videos: (G) the gallery, without duplicates.
        owner: (Q,) index in ``videos`` of each caption's video.
        report: counts and removed videos of the split.
    """

    texts: tuple[str, ...]
    tokens: NDArray[np.int64]
    max_tokens: int
    num_cut: int
    videos: list[StoredVideo]
    owner: NDArray[np.int64]
    report: SplitReport


def open_captioned_store(
    config: Config, progress: Progress, *, shape: ClipShape, split: str | None = None
) -> CaptionedStore:
    """Open the frame store of the settings, with its captions or benchmark.

    Args:
        config: the settings.
        progress: receives warnings about frames that differ from the settings, and videos in two splits.
        shape: of the model, with the size and preprocessing of its frames.
        split: the split that will be used; None: those for training.

    Raises:
        UsageError: the settings are incomplete or invalid, or the videos have different numbers of frames.
        DataError: a file is missing or damaged, the frames do not fit the captions or the model, or videos
            are missing without `data.allow_missing`.
    """
    if not config.data.frames:
        raise UsageError("no frame store is given", hint="set data.frames in vop.yaml, or pass --frames")
    if not (config.data.captions or config.data.dataset):
        raise UsageError(
            "neither captions nor a benchmark is given",
            hint="set data.captions or data.dataset in vop.yaml, or pass --captions or --dataset",
        )
    store = FrameStore.open(Path(config.data.frames))
    size = shape.image_resolution
    if store.recipe.size != size:
        raise DataError(
            f"{store.path} has frames of {store.recipe.size} pixels, the model takes {size}",
            hint=f"create a store with `vop extract-frames --weights`, or --size {size}",
        )
    if differences := unlike_model(store.recipe.to_json(), shape.preprocessing):
        progress.warn(f"the frames of {store.path} differ from the model's: {'; '.join(differences)}")
    if not store.videos:
        raise DataError(f"{store.path} has no videos", hint="run `vop extract-frames` first")
    num_frames = _require_one_length(store, store.videos)
    _LOG.debug("frames: %s, %d videos, %s", store.path, len(store.videos), store.recipe)
    _compare_frames(config.data, store, progress)
    annotations = _annotations(config.data, store, split)
    used = [video for one in annotations.splits.values() for video in one.videos if video.is_range]
    _require_one_length(store, [*store.videos[:1], *(store.items[video.key] for video in used)])
    _tell_irregularities(annotations, config.data, split, progress)
    return CaptionedStore(store, annotations, num_frames, config.data.max_tokens)


def _require_one_length(store: FrameStore, videos: Sequence[StoredVideo]) -> int:
    """Return the number of frames of each video.

    Raises:
        UsageError: the videos have different numbers of frames.
    """
    lengths = sorted({video.num_frames for video in videos})
    if len(lengths) > 1:
        raise UsageError(
            f"the videos of {store.path} have different numbers of frames, {lengths[0]} to {lengths[-1]}",
            hint="create a store with `vop extract-frames --sampling uniform`",
        )
    return lengths[0]


def _tell_irregularities(
    annotations: Annotations, data: DataConfig, split: str | None, progress: Progress
) -> None:
    if data.captions:  # `vop data check` prints those of benchmarks
        for note in annotations.notes:
            progress.note(f"{annotations.name}: {note}")
    for earlier, later, note in iter_overlaps(annotations):
        if split in {None, earlier, later}:
            progress.warn(f"{annotations.name}: {note}")
    for note in iter_other_sizes(annotations.reports):
        progress.warn(f"{annotations.name}: {note}")


def _compare_frames(data: DataConfig, store: FrameStore, progress: Progress) -> None:
    """Warn if the store was created with settings other than these; its frames are used anyway."""
    held = store.recipe
    asked: dict[str, str | int] = {
        "size": data.size or held.size,
        "resize": (data.resize or held.resize).value,
        "fit": (data.fit or held.fit).value,
    }
    sampling = requested_sampling(data)
    if sampling is not None:
        asked["sampling"] = str(sampling)
        if sampling.candidates == 1:
            held = held.middle
    if differences := other_frames(asked, held.to_json()):
        progress.warn(f"the frames of {store.path} differ from the settings: {'; '.join(differences)}")


def _annotations(data: DataConfig, store: FrameStore, split: str | None) -> Annotations:
    """Match the captions with the store.

    Raises:
        DataError: a used split has no videos in the store, or lacks some without `data.allow_missing`.
    """
    if split is not None:
        used = [split]
    elif data.dataset:
        used = [name for name in find_splits(*require_benchmark(data)) if name in (TRAIN, VAL)]
    else:
        used = [TRAIN, VAL]
    annotations = read_stored_annotations(data, store, used)
    if not data.allow_missing:
        require_complete(annotations, used, store=str(store.path))
    for name in used:
        if name in annotations.splits and not annotations.splits[name].videos:
            raise DataError(
                f"{store.path} has none of the videos of the split {format_value(name)} "
                f"of {annotations.name}",
                hint="add them with `vop extract-frames`; `vop data check` lists the missing ones",
            )
    if data.dataset:
        _check_windows(annotations, store)
    return annotations


def _check_windows(annotations: Annotations, store: FrameStore) -> None:
    """Check that the frames are of the part of each video that the benchmark annotates.

    Raises:
        DataError: the frames of a video are of another part.
    """
    wanted = annotations.windows()
    other = [
        f"{video.path} ({video.window}, not {wanted[video.path] or WHOLE})"
        for video in store.videos
        if video.path in wanted and video.window != (wanted[video.path] or WHOLE)
    ]
    if other:
        raise DataError(
            f"{store.path} has other parts of {len(other)} videos than {annotations.name} annotates: "
            f"{format_names(other, 2)}",
            hint="run `vop extract-frames` with --dataset and --root to decode these videos again",
        )


def split_for_training(
    data: CaptionedStore, *, val_share: float
) -> tuple[AnnotatedSplit, AnnotatedSplit, str]:
    """Return the training split, the split to select the best epoch on, and the source of the latter.

    The test split is never used. Without a split ``val``, a fraction ``val_share`` of the training videos is
    held out: those whose names have the smallest hashes, so that every variant and seed holds out the same.

    Raises:
        DataError: the training split has too few videos to hold any out.
    """
    train = data.annotations.split(TRAIN)
    if VAL in data.annotations.splits:
        return train, data.annotations.split(VAL), "the split val"
    paths = dict.fromkeys(video.path for video in train.videos)  # a video is held out with all its ranges
    ordered = sorted(paths, key=lambda path: hashlib.sha256(path.encode("utf-8", "replace")).digest())
    num_held = round(len(ordered) * val_share)
    if not 0 < num_held < len(ordered):
        raise DataError(
            f"{val_share:g} of {len(ordered)} training videos leaves no videos to train or to validate on",
            hint="add videos or a split named val, or change the fraction with --set training.val_share",
        )
    held = set(ordered[:num_held])
    parts = [
        AnnotatedSplit(tuple(video for video in train.videos if (video.path in held) is wanted), train.report)
        for wanted in (False, True)
    ]
    return parts[0], parts[1], f"{num_held} of the {len(ordered)} training videos, held out"


def tokenise_split(data: CaptionedStore, split: AnnotatedSplit, *, max_tokens: int) -> TokenisedSplit:
    """Tokenise the captions of a split, in its order; ``max_tokens`` is the model's limit."""
    max_tokens = min(max_tokens, data.max_tokens or max_tokens)
    queries = split.queries()
    tokens, num_cut = Tokenizer().tokenize(list(queries.texts), max_tokens=max_tokens)
    videos = [data.store.items[key] for key in queries.videos]
    owner = np.array(queries.owners, np.int64)
    _LOG.debug("%s: %d videos, %d captions", split.report.split, len(videos), len(queries.texts))
    return TokenisedSplit(queries.texts, tokens, max_tokens, num_cut, videos, owner, split.report)
