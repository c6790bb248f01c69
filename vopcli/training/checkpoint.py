"""Checkpoints: everything that is needed to resume a run, written atomically."""

from __future__ import annotations

import errno
import pickle
import shutil
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vopcli.errors import DataError, FileError
from vopcli.files.atomic import atomic_path
from vopcli.methods.model import VideoTextModel, load_trained, trained_tensors

CHECKPOINT_VERSION = 1
_FULL_BYTES = 1 << 24  # a disk counts as full with less space than this: every checkpoint is larger


class DamagedCheckpointError(DataError):
    """A checkpoint is damaged or truncated, whatever error torch raised for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged or truncated", hint="restart the run with --overwrite")


@dataclass
class RunState:
    """Progress of a run. No RNG state is stored: randomness is derived from seed and step.

    Attributes:
        step: completed steps, of all epochs.
        epochs: completed and validated epochs.
        optimizer: state dict of the optimizer.
        scaler: state dict of the gradient scaler.
        best: metrics of the best epoch so far, empty before the first.
        best_tensors: trained tensors of that epoch.
        log_bytes: length of the log at this step; later lines of a killed run are dropped on resume.
        seconds: training time so far, without interruptions.
        settings: of the run; it can be resumed only with equal ones.
    """

    settings: dict[str, Any]
    step: int = 0
    epochs: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    log_bytes: int = 0
    seconds: float = 0.0


def save_checkpoint(path: Path, state: RunState, model: VideoTextModel) -> None:
    """Write the state of a run and its trained tensors.

    Raises:
        FileError: `path` cannot be written completely; the previous checkpoint is kept.
    """
    document = {"version": CHECKPOINT_VERSION, "tensors": trained_tensors(model), **vars(state)}
    with atomic_path(path) as temporary:
        try:
            torch.save(document, temporary)
        except RuntimeError as error:  # the only error of torch's writer, also for a full disk
            is_full = shutil.disk_usage(path.parent).free < _FULL_BYTES
            reason = OSError(errno.ENOSPC if is_full else errno.EIO, "it could not be written completely")
            raise FileError(path, reason) from error


def load_checkpoint(path: Path, settings: dict[str, Any], model: VideoTextModel) -> RunState:
    """Read a checkpoint and load its trained tensors into ``model``.

    Raises:
        FileError: `path` cannot be read.
        DamagedCheckpointError: `path` is damaged or truncated.
        DataError: the run has other settings, or the checkpoint is of another version.
    """
    try:
        with zipfile.ZipFile(path) as container:
            if container.testzip() is not None:  # torch itself does not verify checksums
                raise DamagedCheckpointError(path)
        with warnings.catch_warnings():  # torch warns of unknown contents before it raises
            warnings.simplefilter("ignore")
            document = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  (tensors only)
        if document.pop("version") != CHECKPOINT_VERSION:
            raise DataError(
                f"{path} was written by another version of vop", hint="restart the run with --overwrite"
            )
        tensors = document.pop("tensors")
        state = RunState(**document)
        changed = sorted(
            key for key in {*settings, *state.settings} if settings.get(key) != state.settings.get(key)
        )
        if changed:
            raise DataError(
                f"{path} has different settings: {', '.join(changed)}",
                hint="resume with the same settings, or restart the run with --overwrite",
            )
        load_trained(model, tensors)
    except OSError as error:
        raise FileError(path, error) from error
    except (
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
        pickle.UnpicklingError,
    ) as error:
        raise DamagedCheckpointError(path) from error
    return state
