"""Run folders: read as written, and refused in one line where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vopcli.config.choices import Variant
from vopcli.errors import DataError, FileError
from vopcli.evaluation.runs import Selection, TrainedOn, is_run, read_run

SUMMARY = {
    "variant": "P",
    "num_trained": 9,
    "num_frames": 12,
    "seed": 4,
    "found_ratio": 1.0,
    "sampling": "uniform:12",
    "data_sha256": "0" * 64,
    "selected": {"rule": "best", "on": "val", "epoch": 1, "t2v R@1": 30.0},
}
LOG = [{"step": 1, "kind": "train", "loss": 2.5}, {"step": 2, "kind": "val", "t2v R@1": 30.0}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("tuning: {variant: P}\n")
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    return tmp_path


def test_a_run_is_read_as_it_was_written(folder: Path) -> None:
    run = read_run(folder)
    assert (run.config.tuning.variant, run.log) == (Variant.P, LOG)
    assert (run.num_trained, run.num_frames, run.seed, run.found_ratio) == (9, 12, 4, 1.0)
    assert run.selected == Selection("best", "val", 1, {"t2v R@1": 30.0})
    assert run.trained_on == TrainedOn("uniform:12", None, "0" * 64)
    assert is_run(folder)
    assert not is_run(folder / "other")


def test_a_line_being_written_is_left_out(folder: Path) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "ki')
    assert read_run(folder).log == LOG


def test_a_run_that_trains_nothing_has_no_record(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).log == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b"{"),
        ("summary.json", b"[]"),
        ("summary.json", b'{"variant": "P"}'),
        ("summary.json", json.dumps({**SUMMARY, "num_trained": "9"}).encode()),
        ("summary.json", json.dumps({**SUMMARY, "num_frames": [12]}).encode()),
        ("summary.json", json.dumps({**SUMMARY, "seed": 10**400}).encode()),
        ("summary.json", json.dumps({**SUMMARY, "data_sha256": 7}).encode()),
        ("summary.json", json.dumps({**SUMMARY, "found_ratio": 10**400}).encode()),
        ("summary.json", json.dumps({**SUMMARY, "found_ratio": None}).encode()),
        ("summary.json", b"\xff"),
        ("summary.json", b"[" * 100_000),
        ("metrics.jsonl", b"nonsense\n"),
        ("metrics.jsonl", b"3\n"),
        ("metrics.jsonl", b'{"step": "x", "kind": "val"}\n'),
        ("config.yaml", b"tuning: {variant: Q}\n"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_run(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    with pytest.raises(FileError, match=r"config\.yaml does not exist"):
        read_run(folder)
