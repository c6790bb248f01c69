"""Kills, full disks, flipped bits, hostile and damaged files: a few runs of benchmarks/reliability."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from reliability.flips import Kind, flip_bits, make_kinds
from reliability.full_disk import fill_runs, make_all_cases
from reliability.hostile import EXECUTED, Campaign, RunsCode, attack, make_campaigns
from reliability.kills import Case, kill_runs
from reliability.videos import damage_videos, make_whole

NAMES = (
    *("encode --overwrite", "extract-frames --overwrite", "train --overwrite"),
    *("encode, new", "extract-frames, new", "train, new", "weights convert --overwrite"),
    *("eval --save-sims --overwrite", "eval --html --overwrite", "report --html --overwrite"),
)
FILES = (
    *("index with adapter and query bank", "frame store, raw", "frame store, jpeg", "saved scores"),
    *("adapter", "checkpoint"),
)
HOSTILE = (
    *("settings", "weights and adapters", "weights as .pt", "captions", "HDF5, index.h5", "HDF5, raw.h5"),
    *("HDF5, scores.h5", "videos"),
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES[1:3], "train, new", "weights convert --overwrite"])
def test_a_full_disk_costs_nothing(cases: dict[str, Case], name: str) -> None:
    counts = fill_runs(cases[name], 1, seed=1, limit=True)
    assert (counts.full, counts.is_sound) == (1, True)


def test_a_killed_overwrite_costs_nothing(cases: dict[str, Case]) -> None:
    counts = kill_runs(cases["extract-frames --overwrite"], 1, seed=0)
    assert (counts.killed, counts.is_sound) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full_disks_cost_nothing(cases: dict[str, Case], name: str) -> None:
    assert fill_runs(cases[name], 2, seed=0, limit=True).is_sound


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAMES[0], NAMES[2]])
def test_killed_overwrites_cost_nothing(cases: dict[str, Case], name: str) -> None:
    assert kill_runs(cases[name], 1, seed=0).is_sound


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Kind], dict[str, Campaign]]:
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VOP_CACHE", str(folder / "cache"))
        kinds = make_kinds(folder)
        campaigns = {campaign.name: campaign for campaign in make_campaigns(kinds)}
        return folder, {kind.name: kind for kind in kinds}, campaigns


@pytest.fixture
def kinds(whole: tuple[Path, dict[str, Kind], object]) -> dict[str, Kind]:
    """The files, in their folder."""
    os.chdir(whole[0])  # restored with the folder of the test
    return whole[1]


@pytest.fixture
def campaigns(
    whole: tuple[Path, object, dict[str, Campaign]],
) -> dict[str, Campaign]:
    """The campaigns, in their folder."""
    os.chdir(whole[0])  # restored with the folder of the test
    return whole[2]


def test_a_flip_of_a_file_without_checksums_is_silent() -> None:
    Path("plain").write_bytes(bytes(range(200)))
    counts = flip_bits(Kind("plain", Path("plain"), (Path("plain").read_bytes,)), 5, seed=0)
    assert (counts.flips, counts.silent, counts.is_sound) == (5, 5, False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_are_found(kinds: dict[str, Kind], name: str) -> None:
    assert tuple(kinds) == FILES
    assert flip_bits(kinds[name], 20, seed=2).is_sound


def test_the_hostile_pickle_runs_code() -> None:
    pickle.loads(pickle.dumps(RunsCode()))  # noqa: S301
    assert EXECUTED.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(campaigns: dict[str, Campaign], name: str) -> None:
    assert tuple(campaigns) == HOSTILE
    assert attack(campaigns[name], 4, seed=0).is_sound


@pytest.mark.slow
def test_damaged_videos_are_stored_or_refused() -> None:
    counts = damage_videos(make_whole(Path("whole")), 40, seed=0)
    assert counts.files == 40
    assert counts.is_sound
