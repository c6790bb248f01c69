"""Out of memory ends every command that runs a model with exit code 3, an error and a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from typer.testing import CliRunner

from vopcli.cli.app import app
from vopcli.methods.model import VideoTextModel

COMMANDS = [
    ("train", "--variant", "VoP", "--epochs", "1"),
    ("eval", "zero-shot"),
    ("encode", "out.h5", "i.h5", "--weights", "tiny.safetensors"),
]


def fail(*_: Any, **__: Any) -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("method", ["encode_frames", "__init__"])
def test_every_command_ends_with_3(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], method: str
) -> None:
    """In the forward pass, and already when the model is built."""
    monkeypatch.setattr(VideoTextModel, method, fail)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("Error: ")
    assert "memory" in error
    assert hint.startswith("Hint: ")
