"""Captioned videos of a frame store: the splits to train, validate and evaluate on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.schema import Config, DataConfig
from vopcli.datasets.benchmark import read_stored_annotations, require_benchmark
from vopcli.datasets.benchmarks.registry import find_splits
from vopcli.datasets.filter import iter_overlaps, require_complete
from vopcli.datasets.records import TRAIN, VAL, AnnotatedSplit, Annotations, SplitReport, format_names
from vopcli.errors import DataError, UsageError
from vopcli.frames.recipe import other_frames
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.progress import Progress
from vopcli.video.sampling import WHOLE, asked_sampling


@dataclass(frozen=True)
class CaptionedStore:
    """A frame store and the captions of its videos.

    Attributes:
        store: the frames.
        annotations: the splits, matched with the store.
        num_frames: frames of each video, the same for all.
        max_tokens: longest caption that the settings allow; None: as the model can.
    """

    store: FrameStore
    annotations: Annotations
    num_frames: int
    max_tokens: int | None = None

    @property
    def sha256(self) -> str:
        """A hash of what is trained and measured on: every caption, and what its video's frames show."""
        content = {video.path: video.content_sha256.hex() for video in self.store.videos}
        lines = [
            f"{name}\t{video.key}\t{content[video.key]}\t{caption}"
            for name, split in self.annotations.splits.items()
            for video in split.videos
            for caption in video.captions
        ]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class TokenisedSplit:
    """Captions with the videos they describe, tokenised.

    Attributes:
        texts: (Q) the captions.
        tokens: (Q, L) int64.
        max_tokens: longest that a caption may be.
        num_cut: captions that were too long.
        videos: (G) the gallery, each video once.
        owner: (Q,) the video of each caption.
        report: what was left out of the split.
    """

    texts: tuple[str, ...]
    tokens: NDArray[np.int64]
    max_tokens: int
    num_cut: int
    videos: list[StoredVideo]
    owner: NDArray[np.int64]
    report: SplitReport


def open_captioned_store(
    config: Config, progress: Progress, *, resolution: int, split: str | None = None
) -> CaptionedStore:
    """Open the frame store that the settings name, and its captions or benchmark.

    Args:
        config: names them.
        progress: told where the store holds other frames than the settings ask for, and of videos that are
            in two splits.
        resolution: side of the frames that the model takes, in pixels.
        split: the one that will be used; None: those for training.

    Raises:
        UsageError: the settings name none or make no sense, or the store holds videos of several lengths.
        DataError: a file is missing or damaged, the two do not fit, the frames do not fit the model, or
            videos are missing and the settings do not allow that.
    """
    if not config.data.frames:
        raise UsageError("no frame store is named", hint="write data.frames in vop.yaml, or use --frames")
    if not (config.data.captions or config.data.dataset):
        raise UsageError(
            "neither captions nor a benchmark is named",
            hint="write data.captions or data.dataset in vop.yaml, or use --captions or --dataset",
        )
    store = FrameStore.open(Path(config.data.frames))
    if store.recipe.size != resolution:
        raise DataError(
            f"{store.path} holds frames of {store.recipe.size} pixels, the model takes {resolution}",
            hint=f"make a store with `vop extract-frames --size {resolution}`",
        )
    if not store.videos:
        raise DataError(f"{store.path} holds no videos", hint="run `vop extract-frames` first")
    lengths = sorted({video.num_frames for video in store.videos})
    if len(lengths) > 1:
        raise UsageError(
            f"{store.path} holds videos of {lengths[0]} to {lengths[-1]} frames; training needs one number",
            hint="make a store with `vop extract-frames --sampling uniform`",
        )
    _compare_frames(config.data, store, progress)
    annotations = _annotations(config.data, store, split)
    for note in annotations.notes if config.data.captions else ():  # of benchmarks `vop data check` tells
        progress.note(f"{annotations.name}: {note}")
    for earlier, later, note in iter_overlaps(annotations):
        if split in {None, earlier, later}:
            progress.warn(f"{annotations.name}: {note}")
    return CaptionedStore(store, annotations, lengths[0], config.data.max_tokens)


def _compare_frames(data: DataConfig, store: FrameStore, progress: Progress) -> None:
    """Warn where the store was made with other settings than these: what it holds is what is used."""
    held = store.recipe
    asked: dict[str, str | int] = {
        "size": data.size or held.size,
        "resize": (data.resize or held.resize).value,
    }
    sampling = asked_sampling(data.sampling, data.num_frames, data.candidates)
    if sampling is not None:
        asked["sampling"] = str(sampling)
        if sampling.candidates == 1:
            held = held.middle
    if differences := other_frames(asked, held.as_json()):
        progress.warn(f"{store.path} holds other frames than the settings ask for: {'; '.join(differences)}")


def _annotations(data: DataConfig, store: FrameStore, split: str | None) -> Annotations:
    """Match the captions with the store, and refuse a split that is not whole unless that is allowed.

    Raises:
        DataError: videos are missing.
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
                f"{store.path} holds none of the videos of the split {name!r} of {annotations.name}",
                hint="fill it with `vop extract-frames`; `vop data check` says what is missing",
            )
    if data.dataset:
        _check_windows(annotations, store)
    return annotations


def _check_windows(annotations: Annotations, store: FrameStore) -> None:
    """Refuse frames of another part of a video than the benchmark speaks of.

    Raises:
        DataError: there are such.
    """
    wanted = annotations.windows()
    other = [
        f"{video.path} ({video.window}, not {wanted[video.path] or WHOLE})"
        for video in store.videos
        if video.path in wanted and video.window != (wanted[video.path] or WHOLE)
    ]
    if other:
        raise DataError(
            f"{store.path} holds other parts of {len(other)} videos than {annotations.name} speaks of: "
            f"{format_names(other, 2)}",
            hint="run `vop extract-frames` with --dataset and --root: it decodes these videos anew",
        )


def split_for_training(
    data: CaptionedStore, *, val_share: float
) -> tuple[AnnotatedSplit, AnnotatedSplit, str]:
    """Return what to train on, what to choose the best epoch on, and where the latter comes from.

    The test split is never used. Without a split ``val``, ``val_share`` of the training videos are held out:
    those whose names have the smallest hashes, so the same for every variant and seed.

    Raises:
        DataError: there are too few videos to hold any out.
    """
    train = data.annotations.split(TRAIN)
    if VAL in data.annotations.splits:
        return train, data.annotations.split(VAL), "the split val"
    ordered = sorted(
        train.videos, key=lambda video: hashlib.sha256(video.key.encode("utf-8", "replace")).digest()
    )
    num_held = round(len(ordered) * val_share)
    if not 0 < num_held < len(ordered):
        raise DataError(
            f"{val_share:g} of {len(ordered)} training videos leaves nothing to train or to validate on",
            hint="add videos, or a split named val, or hold out more with --set training.val_share",
        )
    held = {video.key for video in ordered[:num_held]}
    parts = [
        AnnotatedSplit(tuple(video for video in train.videos if (video.key in held) is wanted), train.report)
        for wanted in (False, True)
    ]
    return parts[0], parts[1], f"{num_held} of the {len(ordered)} training videos, held out"


def tokenise_split(data: CaptionedStore, split: AnnotatedSplit, *, max_tokens: int) -> TokenisedSplit:
    """Tokenise the captions of a split, in its order; ``max_tokens`` is the most that the model takes."""
    max_tokens = min(max_tokens, data.max_tokens or max_tokens)
    by_path = {video.path: video for video in data.store.videos}
    queries = split.queries()
    tokens, num_cut = Tokenizer().tokenize(list(queries.texts), max_tokens=max_tokens)
    videos = [by_path[key] for key in queries.videos]
    owner = np.array(queries.owners, np.int64)
    return TokenisedSplit(queries.texts, tokens, max_tokens, num_cut, videos, owner, split.report)
