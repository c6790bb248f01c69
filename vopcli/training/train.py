"""Train one variant on captioned videos: from a frame store, captions and settings to a run folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
import yaml

from vopcli.clip.device import DTYPES
from vopcli.config.load import to_dict
from vopcli.errors import DataError, FileError, UsageError
from vopcli.evaluation.embed import Embedded, embed, measure
from vopcli.evaluation.runs import CONFIG_NAME, LOG_NAME, SUMMARY_NAME, Selection
from vopcli.files.atomic import atomic_path, beside, make_folder, note_unfinished, replace_folder
from vopcli.methods.adapter_file import ADAPTER_NAME, Adapter, write_adapter
from vopcli.methods.model import load_trained, trained_tensors
from vopcli.progress import Progress, SilentProgress
from vopcli.training.batches import Samples
from vopcli.training.checkpoint import RunState, load_checkpoint
from vopcli.training.loop import CHECKPOINT_NAME, TrainingJob, train
from vopcli.training.prepare import Prepared, TrainRequest, check_folder, has_run, plan, prepare
from vopcli.training.processes import Processes
from vopcli.training.run_log import open_log
from vopcli.training.summary import TrainSummary

SELECTION_RULE: Final = "the epoch with the highest t2v R@1 on the validation set, the first of equals"


def run(prepared: Prepared, progress: Progress) -> TrainSummary:
    """Train, write the adapter of the best epoch, and return the summary that is written beside it.

    Afterwards the model holds the tensors of that adapter.

    Raises:
        UsageError: `auto_batch` in several processes.
        DataError: the run folder exists and neither `resume` nor `overwrite` is set; it cannot be resumed or
            written; the loss is not finite; or another process of the run ended.
    """
    request, folder = prepared.request, prepared.request.folder
    if request.config.training.auto_batch and prepared.processes.size > 1:
        raise UsageError(
            "--auto-batch works in a single process only", hint="use --micro-batch, which keeps the negatives"
        )
    check_folder(request)
    if not request.overwrite or (folder.exists() and not has_run(folder)):
        note_unfinished(folder, progress)
        return _run_in(folder, prepared, progress)
    with _locked_log(folder):
        pass  # refuse now what would be refused at the end
    with beside(folder, progress) as new:
        summary = _run_in(new, prepared, progress)
        with _locked_log(folder):
            replace_folder(new, folder)
    return summary


def follow(request: TrainRequest, processes: Processes, *, dry_run: bool = False) -> None:
    """Run the part of any process but the first, and write nothing.

    Raises:
        KeyboardInterrupt: the first process was interrupted.
        DataError: see `run`.
    """
    progress = SilentProgress()
    prepared = prepare(request, progress, processes)
    if dry_run:
        return
    nothing: tuple[RunState, dict[str, torch.Tensor]] = (RunState({}), {})
    state, tensors = processes.share(nothing)
    load_trained(prepared.model, tensors)
    _train(prepared, request.folder, state, progress)


def _run_in(folder: Path, prepared: Prepared, progress: Progress) -> TrainSummary:
    """Begin or continue a run in ``folder``; see `run`.

    Raises:
        FileError: the folder cannot be created.
    """
    request = prepared.request
    state = _begun_state(folder, prepared, progress)
    prepared.processes.share((state, trained_tensors(prepared.model)))
    try:
        make_folder(folder)
    except OSError as error:
        raise FileError(folder, error) from error
    # written first: a folder with settings and without a summary is an unfinished run
    with atomic_path(folder / CONFIG_NAME) as path:
        path.write_text(yaml.safe_dump(to_dict(request.config), sort_keys=False), encoding="utf-8")
    state = _train(prepared, folder, state, progress)
    last = trained_tensors(prepared.model)
    _write_adapter(prepared, folder / ADAPTER_NAME, state.best_tensors)
    _write_adapter(prepared, folder / "last.safetensors", last)
    load_trained(prepared.model, state.best_tensors)
    summary = _summary(prepared, state)
    # written last, because it marks the run as finished
    with atomic_path(folder / SUMMARY_NAME) as path:
        path.write_text(json.dumps(summary.to_json(), indent=2), encoding="utf-8")
    return summary


def _train(prepared: Prepared, folder: Path, state: RunState, progress: Progress) -> RunState:
    if prepared.model.num_trained:
        return train(_job(prepared, folder, progress), state, progress)
    began = time.monotonic()  # zero-shot: validated like every other variant, but without steps
    state.best = {"epoch": 0, **_validate(prepared, progress)}
    state.seconds = time.monotonic() - began
    return state


def _job(prepared: Prepared, folder: Path, progress: Progress) -> TrainingJob:
    config = replace(prepared.request.config.training, lr=prepared.lr)
    captions = prepared.train
    videos = [captions.videos[i] for i in captions.owner]
    samples = Samples(prepared.data.store, videos, captions.tokens)
    dtype = DTYPES[prepared.precision]
    return TrainingJob(
        prepared.model,
        samples,
        config,
        dtype,
        folder,
        lambda: _validate(prepared, progress),
        processes=prepared.processes,
    )


def _validate(prepared: Prepared, progress: Progress) -> dict[str, float]:
    """Return the metrics on the validation set; each process embeds its part of the texts and videos."""
    val, processes = prepared.val, prepared.processes
    texts, videos = processes.part(len(val.texts)), processes.part(len(val.videos))
    own = replace(val, texts=val.texts[texts], tokens=val.tokens[texts], videos=val.videos[videos])
    embedded = embed(prepared.model, prepared.data.store, own, DTYPES[prepared.precision], progress=progress)
    text, video = (
        processes.gather(torch.from_numpy(rows), count).numpy()
        for rows, count in ((embedded.text, len(val.texts)), (embedded.video, len(val.videos)))
    )
    return {
        f"{name} {metric}": value
        for name, direction in measure(Embedded(text, video), val).by_direction.items()
        for metric, value in direction.by_name.items()
        if metric != "MdR_lower"
    }


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
    if request.overwrite and has_run(folder):
        shutil.rmtree(folder)
    elif request.resume and has_run(folder):
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
