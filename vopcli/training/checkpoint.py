"""What a run needs to go on after it was killed: written aside and renamed, never half."""

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
_FULL_BYTES = 1 << 24  # what a full disk may still have free: less than a checkpoint that failed to fit


class DamagedCheckpointError(DataError):
    """A file that is no checkpoint, or not a whole one; what torch says of it would mislead."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged, or was cut off", hint="start the run anew with --overwrite")


@dataclass
class RunState:
    """Where a run stands; chance needs no state, it follows from the seed and the step.

    Attributes:
        step: steps done, of all epochs.
        epochs: epochs done and measured.
        optimizer: its state dict.
        best: metrics of the best epoch so far, empty before the first.
        best_tensors: what was trained, as it was then.
        log_bytes: length of the log when this was written; what a killed run logged after it is cut off.
        seconds: what the training took so far, of all the sessions that it was done in.
        settings: what the run was started with; a run goes on only with the same.
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
    """Write the run's state and what it has trained so far.

    Raises:
        FileError: the file cannot be written whole; the former one is kept.
    """
    document = {"version": CHECKPOINT_VERSION, "tensors": trained_tensors(model), **vars(state)}
    with atomic_path(path) as aside:
        try:
            torch.save(document, aside)
        except RuntimeError as error:  # torch's writer has no other for a disk that is full
            is_full = shutil.disk_usage(path.parent).free < _FULL_BYTES
            reason = OSError(errno.ENOSPC if is_full else errno.EIO, "it could not be written whole")
            raise FileError(path, reason) from error


def load_checkpoint(path: Path, settings: dict[str, Any], model: VideoTextModel) -> RunState:
    """Read what :func:`save_checkpoint` wrote, and put the trained tensors into ``model``.

    Raises:
        FileError: the file cannot be read.
        DamagedCheckpointError: it is damaged.
        DataError: the run was started with other settings, or by another version.
    """
    try:
        with zipfile.ZipFile(path) as container:
            if container.testzip() is not None:  # torch itself does not look at checksums
                raise DamagedCheckpointError(path)
        with warnings.catch_warnings():  # about what no checkpoint of ours holds: the error says enough
            warnings.simplefilter("ignore")
            document = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  (tensors only)
        if document.pop("version") != CHECKPOINT_VERSION:
            raise DataError(
                f"{path} is of another version of vop", hint="start the run anew with --overwrite"
            )
        tensors = document.pop("tensors")
        state = RunState(**document)
        changed = sorted(
            key for key in {*settings, *state.settings} if settings.get(key) != state.settings.get(key)
        )
        if changed:
            raise DataError(
                f"{path} was started with another {', '.join(changed)}",
                hint="resume with the same settings, or start the run anew with --overwrite",
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
