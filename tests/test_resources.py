"""Packaged files, the cache folder, the number of cores and of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vopcli.errors import FileError
from vopcli.resources import num_workers, packaged_file, usable_cores, user_path


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


@pytest.mark.parametrize(
    ("quota", "most"),
    [
        ("max 100000", 10**6),
        ("150000 100000", 2),
        ("100000 100000", 1),
        ("1000 100000", 1),
        ("broken", 10**6),
    ],
)
def test_cores_are_those_of_affinity_and_cgroup(tmp_path: Path, quota: str, most: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path / "cpu.max") == min(cores or 1, most)
    assert usable_cores(tmp_path / "none") == cores


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, {}, {"OMP_NUM_THREADS": str(usable_cores()), "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}),
        (None, {"OMP_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "1000"}),
        (3, {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "5"}, {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "5"}),
        (1, {"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "unset"}),
    ],
)
def test_threads_are_set_unless_the_user_has_set_them(
    given: int | None, environment: dict[str, str], expected: dict[str, str]
) -> None:
    code = (
        f"import os; from vopcli.resources import set_threads; set_threads({given});"
        f"print([os.environ.get(name, 'unset') for name in {list(expected)}])"
    )
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"], **environment}
    found = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert found == f"{list(expected.values())}\n"


@pytest.mark.parametrize("text", ["~nobody-of-that-name/x", "x" * 300, "a/" * 5000])
def test_a_path_that_cannot_be_is_one_error(text: str) -> None:
    with pytest.raises(FileError, match=r"does not exist|has too long a name") as caught:
        user_path(text)
    assert caught.value.hint
    assert len(str(caught.value)) < 200


def test_a_path_that_a_user_gave_need_not_exist(tmp_path: Path) -> None:
    assert user_path("~") == Path.home()
    for text in (str(tmp_path / "none"), f"{__file__}/below", "\0", "ViT-B/32"):
        assert user_path(text) == Path(text)


def test_the_number_of_workers_is_as_asked_or_that_of_the_cores() -> None:
    assert [num_workers(asked) for asked in (0, 3, None)] == [0, 3, usable_cores()]
