"""Train one variant on captioned videos: from a frame store, captions and settings to a run folder."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import yaml

from vopcli.clip.device import DTYPES, choose_device, choose_precision
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Precision
from vopcli.config.load import to_dict
from vopcli.config.schema import Config
from vopcli.datasets.records import AnnotatedSplit, SplitReport, format_names, found_ratio
from vopcli.datasets.splits import (
    CaptionedStore,
    TokenisedSplit,
    open_captioned_store,
    split_for_training,
    tokenise_split,
)
from vopcli.errors import DataError, FileError, UsageError
from vopcli.evaluation.embed import embed, measure
from vopcli.evaluation.published import comparable_dataset, published_metrics
from vopcli.evaluation.runs import CONFIG_NAME, LOG_NAME, SUMMARY_NAME, Selection
from vopcli.files.atomic import atomic_path, beside, make_folder, note_unfinished, replace_folder, restore
from vopcli.methods.adapter_file import ADAPTER_NAME, Adapter, write_adapter
from vopcli.methods.build import build_tuned
from vopcli.methods.model import VideoTextModel, load_trained, trained_tensors
from vopcli.methods.registry import METHODS
from vopcli.methods.variants import check_sizes
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder
from vopcli.training.batches import Samples
from vopcli.training.checkpoint import RunState, load_checkpoint
from vopcli.training.loop import CHECKPOINT_NAME, TrainingJob, train
from vopcli.training.run_log import open_log
from vopcli.training.summary import TrainPlan, TrainSummary
from vopcli.weights.reader import Weights, read_checked

SELECTION_RULE: Final = "the epoch with the highest t2v R@1 on the validation set, the first of equals"


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
    """Check the requests of several runs before the first run, which may take hours, begins.

    Raises:
        UsageError: both `resume` and `overwrite` are set.
        ConfigError: sizes contradict each other or those of the backbone.
        DataError: a run folder exists and neither `resume` nor `overwrite` is set, or weights are missing.
    """
    for request in requests:
        if request.resume and request.overwrite:
            raise UsageError("--resume and --overwrite contradict each other", hint="leave one out")
        restore(request.folder)
        _check_folder(request)
    if len(requests) == 1:
        return  # `prepare` checks the rest just as early, and reading weights twice takes time
    by_name: dict[str, list[Config]] = {}
    for request in requests:
        by_name.setdefault(request.config.backbone.model, []).append(request.config)
    for name, configs in by_name.items():

        def check(shape: ClipShape, configs: Sequence[Config] = configs) -> None:
            for config in configs:
                check_sizes(config.tuning, shape)
            _open_splits(configs[0], shape, SilentProgress())  # the runs of a command have the same data

        read_checked(name, check, cache=cache_folder(), progress=progress)


_Splits = tuple[AnnotatedSplit, AnnotatedSplit, str]


def _open_splits(config: Config, shape: ClipShape, progress: Progress) -> tuple[CaptionedStore, _Splits]:
    data = open_captioned_store(config, progress, resolution=shape.image_resolution)
    return data, split_for_training(data, val_share=config.training.val_share)


def prepare(request: TrainRequest, progress: Progress) -> Prepared:
    """Open the data, build the model and tokenise the captions.

    Raises:
        UsageError: settings contradict each other.
        DataError: a file is missing or damaged, or does not fit the others.
    """
    config = request.config
    device = choose_device(config.backbone.device)

    def open_data(shape: ClipShape) -> tuple[CaptionedStore, _Splits]:
        check_sizes(config.tuning, shape)
        return _open_splits(config, shape, progress)

    name = config.backbone.model
    weights, (data, splits) = read_checked(name, open_data, cache=cache_folder(), progress=progress)
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
    prepared = Prepared(request, weights, fingerprint, data, model, train, val, val_source, device, precision)
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
    )


def run(prepared: Prepared, progress: Progress) -> TrainSummary:
    """Train, write the adapter of the best epoch, and return the summary that is written beside it.

    Afterwards the model holds the tensors of that adapter.

    Raises:
        DataError: the run folder exists and neither `resume` nor `overwrite` is set; it cannot be resumed or
            written; or the loss is not finite.
    """
    request, folder = prepared.request, prepared.request.folder
    _check_folder(request)
    if not request.overwrite or (folder.exists() and not _has_run(folder)):
        note_unfinished(folder, progress)
        return _run_in(folder, prepared, progress)
    with _locked_log(folder):
        pass  # refuse now what would be refused at the end
    with beside(folder, progress) as new:
        summary = _run_in(new, prepared, progress)
        with _locked_log(folder):
            replace_folder(new, folder)
    return summary


def _run_in(folder: Path, prepared: Prepared, progress: Progress) -> TrainSummary:
    """Begin or continue a run in ``folder``; see `run`.

    Raises:
        FileError: the folder cannot be created.
    """
    began = time.monotonic()
    request = prepared.request
    state = _begun_state(folder, prepared, progress)
    try:
        make_folder(folder)
    except OSError as error:
        raise FileError(folder, error) from error
    # written first: a folder with settings and without a summary is an unfinished run
    with atomic_path(folder / CONFIG_NAME) as path:
        path.write_text(yaml.safe_dump(to_dict(request.config), sort_keys=False), encoding="utf-8")
    if prepared.model.num_trained:
        state = train(_job(prepared, folder, progress), state, progress)
    else:  # zero-shot: measured on the validation set like every other variant, but never stepped
        state.best = {"epoch": 0, **_validate(prepared, progress)}
        state.seconds = time.monotonic() - began
    last = trained_tensors(prepared.model)
    _write_adapter(prepared, folder / ADAPTER_NAME, state.best_tensors)
    _write_adapter(prepared, folder / "last.safetensors", last)
    load_trained(prepared.model, state.best_tensors)
    summary = _summary(prepared, state)
    # written last, because it marks the run as finished
    with atomic_path(folder / SUMMARY_NAME) as path:
        path.write_text(json.dumps(summary.to_json(), indent=2), encoding="utf-8")
    return summary


def _job(prepared: Prepared, folder: Path, progress: Progress) -> TrainingJob:
    config = replace(prepared.request.config.training, lr=prepared.lr)
    captions = prepared.train
    videos = [captions.videos[i] for i in captions.owner]
    samples = Samples(prepared.data.store, videos, captions.tokens)
    dtype = DTYPES[prepared.precision]
    return TrainingJob(prepared.model, samples, config, dtype, folder, lambda: _validate(prepared, progress))


def _validate(prepared: Prepared, progress: Progress) -> dict[str, float]:
    embedded = embed(
        prepared.model, prepared.data.store, prepared.val, DTYPES[prepared.precision], progress=progress
    )
    return {
        f"{name} {metric}": value
        for name, direction in measure(embedded, prepared.val).by_direction.items()
        for metric, value in direction.by_name.items()
        if metric != "MdR_lower"
    }


def _has_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CHECKPOINT_NAME, SUMMARY_NAME, CONFIG_NAME))


def _check_folder(request: TrainRequest) -> None:
    if _has_run(request.folder) and not (request.overwrite or request.resume):
        raise DataError(
            f"{request.folder} holds a run already",
            hint="use --resume to continue it, --overwrite to replace it, or --output for another folder",
        )


def _begun_state(folder: Path, prepared: Prepared, progress: Progress) -> RunState:
    """Load the checkpoint of a run that is resumed, or of an interrupted replacement with equal settings.

    Raises:
        DataError: a run to be resumed is damaged, or has other settings.
    """
    request, checkpoint = prepared.request, folder / CHECKPOINT_NAME
    settings = _resume_settings(prepared)
    if (request.resume or request.overwrite) and checkpoint.exists():
        try:
            state = load_checkpoint(checkpoint, settings, prepared.model)
        except DataError:
            if request.resume:
                raise
        else:
            progress.note(f"resuming {request.folder} after step {state.step}")
            return state
    if request.overwrite and _has_run(folder):
        shutil.rmtree(folder)
    elif request.resume and _has_run(folder):
        progress.note(f"{folder} has no checkpoint yet: starting at step 0")
    return RunState(settings)


def _locked_log(folder: Path) -> contextlib.AbstractContextManager[object]:
    """Lock a run folder against other processes that train there."""
    return open_log(folder) if (folder / LOG_NAME).exists() else contextlib.nullcontext()


def _resume_settings(prepared: Prepared) -> dict[str, Any]:
    """Return the settings that must be equal when a run is resumed.

    Left out are those that change the speed or the memory of a step, but not its result.
    """
    config = prepared.request.config
    training = to_dict(config.training)
    for name in ("output", "compile", "checkpointing", "auto_batch"):
        del training[name]
    return {
        **{f"tuning.{name}": value for name, value in to_dict(config.tuning).items()},
        **{f"training.{name}": value for name, value in training.items()},
        "training.precision": prepared.precision.value,
        "training.lr": prepared.lr,
        "backbone": prepared.fingerprint,
        "data": prepared.data.sha256,
        "data.max_tokens": config.data.max_tokens,
        "data.frames": str(prepared.data.store.recipe),
    }


def _write_adapter(prepared: Prepared, path: Path, tensors: dict[str, torch.Tensor]) -> None:
    adapter = Adapter(
        tuning=prepared.request.config.tuning,
        num_frames=prepared.data.num_frames,
        fingerprint=prepared.fingerprint,
        recipe=prepared.data.store.recipe.middle.to_json(),
        tensors={name: tensor.numpy() for name, tensor in tensors.items()},
        max_tokens=prepared.train.max_tokens,
    )
    write_adapter(path, adapter)


def _summary(prepared: Prepared, state: RunState) -> TrainSummary:
    config = prepared.request.config
    epoch, metrics = state.best["epoch"], {name: state.best[name] for name in state.best if name != "epoch"}
    return TrainSummary(
        plan=plan(prepared),
        seed=config.training.seed,
        selected=Selection(SELECTION_RULE, prepared.val_source, epoch, metrics),
        seconds=state.seconds,
        num_frames=prepared.data.num_frames,
        sampling=str(prepared.data.store.recipe.sampling),
        num_cut_captions=prepared.train.num_cut,
        weights=config.backbone.model,
        fingerprint=prepared.fingerprint,
        data=prepared.reports,
        data_sha256=prepared.data.sha256,
    )


def _estimated_bytes(prepared: Prepared, num_trained: int) -> int:
    """Estimate device memory: weights, gradients and Adam's two moments, and saved activations."""
    shape, config = prepared.model.clip.shape, prepared.request.config
    training = config.training
    weights = sum(item.numel() * item.element_size() for item in prepared.model.parameters())
    videos = min(training.micro_batch or training.batch_size, training.batch_size)
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
