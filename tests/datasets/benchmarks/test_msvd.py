from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.support.annotations import (
    pairs,
    write_list,
    write_msvd_json,
    write_msvd_pickle,
)
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import read_dataset
from vopcli.datasets.records import Annotations, CaptionedVideo
from vopcli.errors import DataError

MSVD = DatasetName.MSVD
CAPTIONS = {
    "AbCdEfGhIjK_5_15": ["a dog runs", "the dog is running", "a dog runs"],
    "-bCdEfGhIjK_0_9": ["a man is cooking"],
    "_zzzzzzzzzz_100_110": ["two birds", "birds fly"],
}


def write_lists(root: Path) -> None:
    write_list(root / "train_list.txt", ["_zzzzzzzzzz_100_110", "AbCdEfGhIjK_5_15"], at_end=False)
    write_list(root / "val_list.txt", ["-bCdEfGhIjK_0_9"], newline="\r\n")
    write_list(root / "test_list.txt", ["unknown_0_1", "AbCdEfGhIjK_5_15"])


def read_msvd(root: Path) -> Annotations:
    return read_dataset(MSVD, root)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_pickle_and_the_json_say_the_same(tmp_path: Path, protocol: int) -> None:
    write_lists(tmp_path)
    write_msvd_pickle(tmp_path, CAPTIONS, protocol=protocol)
    from_pickle = read_msvd(tmp_path)
    (tmp_path / "raw-captions.pkl").unlink()
    write_msvd_json(tmp_path, CAPTIONS)
    assert read_msvd(tmp_path) == from_pickle
    assert from_pickle.split("train").videos == (
        CaptionedVideo("_zzzzzzzzzz_100_110", ("two birds", "birds fly")),
        CaptionedVideo("AbCdEfGhIjK_5_15", ("a dog runs", "the dog is running", "a dog runs")),
    )
    assert pairs(from_pickle.split("val")) == [("-bCdEfGhIjK_0_9", "a man is cooking")]
    test = from_pickle.split("test")
    assert test.report.without_captions == ("unknown_0_1",)
    assert test.queries().owners == (0, 0, 0)
    assert test.report.notes == (
        "1 captions are duplicates of another of their video: kept",
        "1 videos are in 'train' and in 'test': AbCdEfGhIjK_5_15",
    )


def test_published_sizes(tmp_path: Path) -> None:
    sizes = {"train": (1200, 48_774), "val": (100, 4290), "test": (670, 27_763)}
    captions: dict[str, list[str]] = {}
    for split, (num_videos, num_captions) in sizes.items():
        ids = [f"{split}{n:08d}_1_9" for n in range(num_videos)]
        write_list(tmp_path / f"{split}_list.txt", ids)
        for n in range(num_captions):
            captions.setdefault(ids[n % num_videos], []).append(f"caption {n}")
    write_msvd_json(tmp_path, captions)
    annotations = read_msvd(tmp_path)
    counts = {report.split: (report.num_used, report.num_captions) for report in annotations.reports}
    assert counts == sizes
    queries = annotations.split("test").queries()
    assert (len(queries.texts), len(queries.videos)) == (27_763, 670)
    assert list(queries.owners) == sorted(queries.owners)


def test_the_json_goes_before_the_pickle(tmp_path: Path) -> None:
    write_lists(tmp_path)
    write_msvd_json(tmp_path, CAPTIONS)
    (tmp_path / "raw-captions.pkl").write_bytes(b"never read")
    notes = read_msvd(tmp_path).split("val").report.notes
    assert notes == ("raw-captions.pkl exists too: captions_msvd.json was read",)


class Touch:
    """Unpickling it with Python's own reader makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    write_lists(tmp_path)
    trap = tmp_path / "trap"
    data = pickle.dumps({**CAPTIONS, "x": Touch(trap)}, protocol=protocol)
    (tmp_path / "raw-captions.pkl").write_bytes(data)
    with pytest.raises(DataError, match=r"raw-captions\.pkl holds Python objects \('.*open'\): refused"):
        read_msvd(tmp_path)
    assert not trap.exists()
    pickle.loads(data)["x"].close()  # noqa: S301 - the trap does work
    assert trap.exists()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "Python objects"),
        (b"cvopcli.data.annotations.pickled\n_STAND_INS\n.", "Python objects"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "Python objects"),
        (b"Pid\n.", "Python objects"),
        (b"ccollections\nOrderedDict\n(dS'__class__'\nNsb.", "is not a pickle of captions"),
        (b"ccollections\nOrderedDict\nN(dS'x'\nNs\x86b.", "is not a pickle of captions"),
        (b"", "is not a pickle of captions"),
        (b"(lp0\ng0\na.", "is not a pickle of captions|must map each video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is not a pickle of captions"),
        (pickle.dumps(CAPTIONS)[:-9], "is not a pickle of captions"),
        (pickle.dumps([1, 2]), "must map each video to a list of captions"),
        (pickle.dumps({"a": "text"}), "the captions of 'a' must be a list of texts, not 'text'"),
        (pickle.dumps({"a": [["x", 7]]}), "the captions of 'a' must be a list of texts"),
        (pickle.dumps({"a": [[["x"]]]}), "the captions of 'a' must be a list of texts"),
        (pickle.dumps({7: ["x"]}), "the name of the video 7 must be text"),
    ],
)
def test_pickles_that_are_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    write_lists(tmp_path)
    (tmp_path / "raw-captions.pkl").write_bytes(data)
    with pytest.raises(DataError, match=problem) as caught:
        read_msvd(tmp_path)
    assert "raw-captions.pkl" in str(caught.value)


def test_neither_file_of_captions(tmp_path: Path) -> None:
    write_lists(tmp_path)
    with pytest.raises(DataError, match=r"captions_msvd\.json or raw-captions\.pkl is missing"):
        read_msvd(tmp_path)
