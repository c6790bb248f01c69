"""The log of a run: one writer, lines that survive a kill, and steps that are not logged twice."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from vopcli.errors import BusyError, FileError
from vopcli.training.run_log import RunLog, open_log


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_are_written_at_once(tmp_path: Path) -> None:
    with RunLog(tmp_path, step=0, keep_bytes=0) as log:
        log.write(3, "train", {"loss": 0.5, "epoch": 0})
        assert lines_of(tmp_path) == [{"step": 3, "kind": "train", "loss": 0.5, "epoch": 0}]
        assert log.num_bytes == (tmp_path / "metrics.jsonl").stat().st_size
    assert list(tmp_path.glob("events.*"))


def test_a_resumed_run_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    with RunLog(tmp_path, step=0, keep_bytes=0) as log:
        log.write(1, "train", {"loss": 1.0})
        kept = log.num_bytes
        log.write(2, "train", {"loss": 2.0})
    with RunLog(tmp_path, step=1, keep_bytes=kept) as log:
        assert log.num_bytes == kept
        log.write(2, "train", {"loss": 3.0})
        assert log.num_bytes == (tmp_path / "metrics.jsonl").stat().st_size
    assert [line["loss"] for line in lines_of(tmp_path)] == [1.0, 3.0]


def test_a_full_disk_is_told_once_and_hides_no_other_error(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_too_much() -> None:
        with RunLog(tmp_path, step=0, keep_bytes=0) as log:
            log.write(1, "train", {"loss": 1.0})
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.num_bytes + 10, before[1]))
            log.write(2, "train", {"loss": 2.0})

    try:
        with pytest.raises(FileError, match=r"metrics\.jsonl cannot be used: File too large"):
            write_too_much()
        with pytest.raises(FileError, match="cannot be used"):
            RunLog(tmp_path / "..", step=0, keep_bytes=1 << 20)
        (tmp_path.parent / "metrics.jsonl").unlink()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with RunLog(tmp_path, step=1, keep_bytes=len(b'{"step": 1, "kind": "train", "loss": 1.0}\n')) as log:
        log.write(2, "train", {"loss": 3.0})
    assert [line["loss"] for line in lines_of(tmp_path)] == [1.0, 3.0]


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    with open_log(tmp_path), pytest.raises(BusyError, match="is in use by another process"):
        RunLog(tmp_path, step=0, keep_bytes=0)
    open_log(tmp_path).close()
    with pytest.raises(FileError, match=r"none/metrics\.jsonl does not exist"):
        open_log(tmp_path / "none")
