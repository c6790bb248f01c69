"""Killed commands and full disks, in a small version of the campaigns of benchmarks/reliability."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability.full_disk import fill_runs, make_all_cases
from reliability.kills import Case, kill_runs

NAMES = (
    *("encode --overwrite", "extract-frames --overwrite", "train --overwrite"),
    *("encode, new", "extract-frames, new", "train, new", "weights convert --overwrite"),
    *("eval --save-sims --overwrite", "eval --html --overwrite", "report --html --overwrite"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Case]]:
    folder = tmp_path_factory.mktemp("reliability")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VOP_CACHE", str(folder / "cache"))
        return folder, {case.name: case for case in make_all_cases(folder)}


@pytest.fixture
def cases(made: tuple[Path, dict[str, Case]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Case]:
    """The commands, in their folder."""
    folder, cases = made
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VOP_CACHE", str(folder / "cache"))
    return cases


def test_every_command_is_named(cases: dict[str, Case]) -> None:
    assert tuple(cases) == NAMES


@pytest.mark.parametrize("name", [*NAMES[1:3], "train, new", "weights convert --overwrite"])
def test_a_full_disk_costs_nothing(cases: dict[str, Case], name: str) -> None:
    counts = fill_runs(cases[name], 1, seed=1, limit=True)
    assert (counts.full, counts.is_sound) == (1, True)


def test_a_killed_overwrite_costs_nothing(cases: dict[str, Case]) -> None:
    counts = kill_runs(cases["extract-frames --overwrite"], 2, seed=0)
    assert (counts.killed, counts.is_sound) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full_disks_cost_nothing(cases: dict[str, Case], name: str) -> None:
    assert fill_runs(cases[name], 10, seed=0, limit=True).is_sound


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:3])
def test_killed_overwrites_cost_nothing(cases: dict[str, Case], name: str) -> None:
    assert kill_runs(cases[name], 10, seed=0).is_sound
