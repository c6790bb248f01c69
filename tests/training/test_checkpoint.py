"""Checkpoints: resumed with equal settings only, refused where damaged, replaced by complete ones only."""

import resource
from pathlib import Path

import pytest
import torch

from tests.support.training import job_of, model_of
from vopcli.config.choices import Variant
from vopcli.errors import DataError, FileError
from vopcli.progress import SilentProgress
from vopcli.training.checkpoint import RunState, load_checkpoint
from vopcli.training.loop import train


def test_a_checkpoint_of_other_settings_is_refused(training_store: Path, tmp_path: Path) -> None:
    job = job_of(training_store, tmp_path / "run", epochs=1)
    train(job, RunState({"lr": 1.0, "seed": 0}), SilentProgress())
    with pytest.raises(DataError, match="has different settings: lr"):
        load_checkpoint(tmp_path / "run" / "last.ckpt", {"lr": 2.0, "seed": 0}, job.model)
    other = model_of(Variant.VOP)
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path / "run" / "last.ckpt", {"lr": 1.0, "seed": 0}, other)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x04K\x01."])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"last\.ckpt is damaged"):
        load_checkpoint(path, {}, model_of(Variant.VOP))


@pytest.mark.parametrize(
    "document",
    [
        torch.zeros(3),
        {"version": 1, "tensors": 3, "settings": {}},
        {"version": 1, "tensors": {}, "settings": [1]},
    ],
    ids=["a tensor", "tensors", "settings"],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, document: object) -> None:
    torch.save(document, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt is damaged"):
        load_checkpoint(tmp_path / "last.ckpt", {}, model_of(Variant.VOP))


def test_a_checkpoint_that_cannot_be_written_whole_leaves_the_former(
    training_store: Path, tmp_path: Path
) -> None:
    job = job_of(training_store, tmp_path, epochs=1)
    train(job, RunState({}), SilentProgress())
    before = (tmp_path / "last.ckpt").read_bytes()

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(before) // 2, limits[1])
    )  # ends a write as a full disk does
    try:
        with pytest.raises(FileError, match=r"last\.ckpt cannot be used: it could not be written completely"):
            train(job, RunState({}), SilentProgress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert not list(tmp_path.glob(".last.ckpt*"))
