"""Packaged files, the cache folder and the number of cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vopcli.resources import packaged_file, usable_cores


def test_packaged_files_are_found() -> None:
    assert packaged_file("bpe/bpe_simple_vocab_16e6.txt.gz").is_file()
    assert not packaged_file("none").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/me/.cache/vop"),
        ({"XDG_CACHE_HOME": "/data/cache"}, "/data/cache/vop"),
        ({"XDG_CACHE_HOME": "/data/cache", "VOP_CACHE": "~/models"}, "/home/me/models"),
    ],
)
def test_cache_folder_follows_the_environment(environment: dict[str, str], expected: str) -> None:
    code = "from vopcli.resources import cache_folder; print(cache_folder())"
    environment = {"HOME": "/home/me", "PYTHONPATH": os.environ["PYTHONPATH"], **environment}
    found = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert found == f"{expected}\n"


def test_cores_are_those_of_the_process() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert usable_cores() == len(os.sched_getaffinity(0))
    assert usable_cores() >= 1
