"""Packaged files, the cache folder and the number of cores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vopcli.resources import cache_folder, packaged_file, usable_cores


def test_packaged_files_are_found() -> None:
    assert packaged_file("bpe/bpe_simple_vocab_16e6.txt.gz").is_file()
    assert not packaged_file("none").exists()


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("VOP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("/home/me/.cache/vop")
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    assert cache_folder() == Path("/data/cache/vop")
    monkeypatch.setenv("VOP_CACHE", "~/models")
    assert cache_folder() == Path("/home/me/models")


def test_cores_are_those_of_the_process() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert usable_cores() == len(os.sched_getaffinity(0))
    assert usable_cores() >= 1
