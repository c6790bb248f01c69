"""Prepare a run: open the data, build the model, and plan the steps, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vopcli.clip.device import DTYPES, choose_device, choose_precision
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Precision
from vopcli.config.schema import Config
from vopcli.datasets.records import AnnotatedSplit, SplitReport, format_names, found_ratio
from vopcli.datasets.splits import (
    CaptionedStore,
    TokenisedSplit,
    open_captioned_store,
    split_for_training,
    tokenise_split,
)
from vopcli.errors import DataError, UsageError
from vopcli.evaluation.published import comparable_dataset, published_metrics
from vopcli.evaluation.runs import CONFIG_NAME, SUMMARY_NAME
from vopcli.files.atomic import restore
from vopcli.methods.build import build_tuned
from vopcli.methods.model import VideoTextModel
from vopcli.methods.registry import METHODS
from vopcli.methods.variants import check_sizes
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder
from vopcli.training.loop import CHECKPOINT_NAME
from vopcli.training.processes import ALONE, Processes
from vopcli.training.summary import TrainPlan
from vopcli.weights.reader import CheckedT, Weights, read_checked


@dataclass(frozen=True)
class TrainRequest:
    """One run.

    Attributes:
        config: all settings.
        resume: continue the run in an existing run folder.
        overwrite: replace an existing run folder.
    """

    config: Config
    resume: bool = False
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """The run folder: the variant and the seed below the output folder."""
        tuning, training = self.config.tuning, self.config.training
        return Path(training.output) / f"{tuning.variant.value}-seed{training.seed}"


@dataclass
class Prepared:
    """The parts of a run, opened and checked."""

    request: TrainRequest
    weights: Weights
    fingerprint: str
    data: CaptionedStore
    model: VideoTextModel
    train: TokenisedSplit
    val: TokenisedSplit
    val_source: str
    device: torch.device
    precision: Precision
    processes: Processes = ALONE

    @property
    def lr(self) -> float:
        """The peak learning rate: the setting, or else the default of the variant."""
        config = self.request.config
        given = config.training.lr
        return METHODS[config.tuning.variant].lr if given is None else given

    @property
    def reports(self) -> list[SplitReport]:
        """Reports on the splits in use; a single one if validation videos are held out of train."""
        return list({one.report.split: one.report for one in (self.train, self.val)}.values())


def check_requests(requests: Sequence[TrainRequest], progress: Progress) -> None:
    """Check the requests of several runs before the first one begins, since a run may take hours.

    The runs differ only in their variants and seeds.

    Raises:
        UsageError: both `resume` and `overwrite` are set.
        ConfigError: sizes contradict each other or those of the backbone.
        DataError: a run folder exists and neither `resume` nor `overwrite` is set, or weights are missing.
    """
    for request in requests:
        if request.resume and request.overwrite:
            raise UsageError("--resume and --overwrite exclude each other", hint="omit one")
        restore(request.folder)
        check_folder(request)
    if len(requests) == 1:
        return  # `prepare` checks the rest just as early, and reading weights twice takes time
    first = requests[0].config

    def check(shape: ClipShape) -> None:
        for request in requests:
            check_sizes(request.config.tuning, shape)
        _open_splits(first, shape, SilentProgress())

    _read(first, check, progress)


def _read(
    config: Config, check: Callable[[ClipShape], CheckedT], progress: Progress
) -> tuple[Weights, CheckedT]:
    """Read the weights of the settings, and check all else that is given."""
    backbone, cache = config.backbone, cache_folder()
    return read_checked(backbone.model, check, cache=cache, progress=progress, activation=backbone.activation)


_Splits = tuple[AnnotatedSplit, AnnotatedSplit, str]


def _open_splits(config: Config, shape: ClipShape, progress: Progress) -> tuple[CaptionedStore, _Splits]:
    data = open_captioned_store(config, progress, shape=shape)
    return data, split_for_training(data, val_share=config.training.val_share)


def prepare(request: TrainRequest, progress: Progress, processes: Processes = ALONE) -> Prepared:
    """Open the data, build the model and tokenise the captions.

    Args:
        request: the run.
        progress: receives warnings.
        processes: the processes that train together; the first one downloads files before the others
            read them.

    Raises:
        UsageError: settings contradict each other.
        DataError: a file is missing or damaged, or does not fit the others.
    """
    config = request.config
    device = choose_device(config.backbone.device)

    def open_data(shape: ClipShape) -> tuple[CaptionedStore, _Splits]:
        check_sizes(config.tuning, shape)
        return _open_splits(config, shape, progress)

    with processes.first_alone():
        weights, (data, splits) = _read(config, open_data, progress)
    train_split, val_split, val_source = splits
    precision = choose_precision(config.training.precision, device)
    torch.manual_seed(config.training.seed)  # initial prompts and adapters are drawn while the model is built
    model = build_tuned(
        weights, config.tuning, num_frames=data.num_frames, device=device, dtype=DTYPES[precision]
    )
    for tower in (model.clip.transformer, model.clip.visual.transformer):
        tower.recomputes = config.training.checkpointing
    train, val = (
        tokenise_split(data, split, max_tokens=model.max_tokens) for split in (train_split, val_split)
    )
    for name, captions in (("training", train), ("validation", val)):
        if captions.num_cut:
            progress.warn(f"{captions.num_cut} {name} captions are truncated to {captions.max_tokens} tokens")
    fingerprint = weights.fingerprint()
    prepared = Prepared(
        request, weights, fingerprint, data, model, train, val, val_source, device, precision, processes
    )
    for report in prepared.reports:
        if missing := report.without_file:
            progress.warn(f"{report.split}: {len(missing)} videos are missing: {format_names(missing)}")
    return prepared


def plan(prepared: Prepared) -> TrainPlan:
    """Return the sizes and settings of a run without starting it."""
    config = prepared.request.config
    dataset = config.data.dataset
    published_on = comparable_dataset(dataset, config.data.queries)
    steps = math.ceil(len(prepared.train.texts) / config.training.batch_size)
    trained = prepared.model.num_trained
    return TrainPlan(
        variant=config.tuning.variant.value,
        folder=str(prepared.request.folder),
        num_train_videos=len(prepared.train.videos),
        num_train_captions=len(prepared.train.texts),
        num_val_videos=len(prepared.val.videos),
        val_source=prepared.val_source,
        steps_per_epoch=steps,
        num_steps=steps * config.training.epochs if trained else 0,
        negatives_per_step=min(config.training.batch_size, len(prepared.train.texts)) - 1,
        num_trained=trained,
        lr=prepared.lr,
        device=str(prepared.device),
        precision=prepared.precision.value,
        estimated_bytes=_estimated_bytes(prepared, trained),
        dataset=dataset.value if dataset else None,
        found_ratio=found_ratio(prepared.reports),
        published=published_metrics(published_on, config.tuning) if published_on else None,
        num_processes=prepared.processes.size,
        videos_per_process=prepared.processes.part_size(config.training.batch_size),
    )


def has_run(folder: Path) -> bool:
    """Whether a folder has files of a run, finished or not."""
    return any((folder / name).exists() for name in (CHECKPOINT_NAME, SUMMARY_NAME, CONFIG_NAME))


def check_folder(request: TrainRequest) -> None:
    """Check that a run may be written into its folder.

    Raises:
        DataError: the folder has a run, and neither `resume` nor `overwrite` is set.
    """
    if has_run(request.folder) and not (request.overwrite or request.resume):
        raise DataError(
            f"{request.folder} holds a run already",
            hint="use --resume to continue it, --overwrite to replace it, or --output for another folder",
        )


def _estimated_bytes(prepared: Prepared, num_trained: int) -> int:
    """Estimate device memory: weights, gradients and Adam's two moments, and saved activations."""
    shape, config = prepared.model.clip.shape, prepared.request.config
    training = config.training
    weights = sum(item.numel() * item.element_size() for item in prepared.model.parameters())
    own = prepared.processes.part_size(training.batch_size)
    videos = min(training.micro_batch or own, own)
    num_patches = (shape.image_resolution // shape.patch_size) ** 2
    frame_tokens = num_patches + 1 + config.tuning.prompt_length
    bytes_each = 4 if prepared.precision is Precision.FP32 else 2
    layers = 1 if training.checkpointing else shape.vision_layers
    # values that a layer saves for each token and channel: the inputs (2) and outputs (2) of its norms, q, k
    # and v (3), the output of the attention (1), and the hidden layer before and after its activation (4 + 4)
    vision = videos * prepared.data.num_frames * frame_tokens * shape.vision_width * 16 * layers
    text = videos * shape.context_length * shape.text_width * 16 * shape.text_layers
    is_idle = METHODS[config.tuning.variant].is_idle
    return int(weights + 12 * num_trained + (0 if is_idle else (vision + text) * bytes_each))
