"""Processes that train together: parts of a batch, equal gradients, one run folder, loss of a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.support.training import make_captioned_folder
from vopcli.config.choices import Variant
from vopcli.training.processes import ALONE, Processes, joined

TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"),
    *("--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
)
SHORT = ("--variant", "P+F", "--epochs", "3", "--lr", "1e-3", "--quiet")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 4, 7, 9])
def test_parts_cover_a_batch_once_and_are_never_empty(size: int, count: int) -> None:
    rows = torch.arange(count, dtype=torch.float32)[:, None]
    gradients = torch.zeros(count)
    for rank in range(size):
        part = Processes(rank, size).part(count)
        assert part.stop > part.start
        own = Processes(rank, size).own_gradient(rows + 1)
        assert own.shape == rows[part].shape
        gradients[part] += own[:, 0]
    assert torch.equal(gradients, rows[:, 0] + 1)  # repeated rows add nothing


def test_a_process_alone_shares_with_nobody() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    assert torch.equal(ALONE.gather(rows, 3), rows)
    assert not ALONE.gather(rows, 3).requires_grad
    assert ALONE.share("x") == "x"
    with joined() as processes:  # not started by torchrun
        assert (processes, processes.is_first) == (ALONE, True)


@pytest.fixture
def captioned(training_store: Path, tmp_path: Path) -> Path:
    return make_captioned_folder(tmp_path, training_store)


def start(*command: str, processes: int, folder: Path) -> subprocess.Popen[str]:
    words = [*TORCHRUN, "--nproc-per-node", str(processes), "-m", *command]
    return subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun ends its processes
            process.communicate()
    assert process.returncode == 0, err
    return out, err


@pytest.mark.slow
def test_gradients_are_those_of_one_process(training_store: Path, tmp_path: Path) -> None:
    """Three processes; the last one has a single row of seven, and none of four."""
    out, _ = finish(start("tests.support.gradients", str(training_store), processes=3, folder=tmp_path))
    found = [line.split() for line in out.splitlines()]
    assert len(found) == 2 * (len(Variant) - 1)
    assert max(float(worst) for _, _, worst in found) < 1e-9, out


@pytest.mark.slow
def test_two_processes_train_as_one_and_write_once(captioned: Path) -> None:
    run = captioned / "runs" / "P+F-seed0"
    single = subprocess.run(
        [sys.executable, "-m", "vopcli", "train", *SHORT, "--output", "single", "--json"],
        cwd=captioned, check=True, capture_output=True, text=True,
    )  # fmt: skip
    out, _ = finish(start("vopcli", "train", *SHORT, "--json", processes=2, folder=captioned))
    together, alone = json.loads(out), json.loads(single.stdout)
    assert (together["num_processes"], together["videos_per_process"]) == (2, 2)
    assert together["selected"] == pytest.approx(alone["selected"])
    expected = load_file(captioned / "single" / "P+F-seed0" / "last.safetensors")
    for name, tensor in load_file(run / "last.safetensors").items():
        np.testing.assert_allclose(tensor, expected[name], atol=1e-4)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "val"] == [0, 1, 2]  # written once


@pytest.mark.slow
def test_an_interruption_before_a_validation_ends_all_processes(captioned: Path) -> None:
    out, _ = finish(start("tests.support.interrupted", processes=2, folder=captioned))
    assert sorted(out.splitlines()) == ["0 interrupted", "1 interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["interrupted", "killed"])
def test_an_interrupted_run_continues_with_another_number_of_processes(captioned: Path, lost: str) -> None:
    folder = captioned / "runs" / "P+F-seed0"
    log, epochs = folder / "metrics.jsonl", ("--epochs", "30", "--lr", "1e-3")
    process = start("vopcli", "train", "--variant", "P+F", *epochs, processes=2, folder=captioned)
    end = time.monotonic() + 200
    while not (log.exists() and log.read_text().count("\n") > 8):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    if lost == "interrupted":
        process.send_signal(signal.SIGINT)
    else:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    if lost == "interrupted":  # else torchrun may end the other process before it can tell
        assert err.count("Interrupted.") == 1, err
    assert not (folder / "summary.json").exists()
    resumed = [sys.executable, "-m", "vopcli", "train", "--variant", "P+F", *epochs, "--resume", "--quiet"]
    subprocess.run(resumed, cwd=captioned, check=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "val"] == list(range(30))
