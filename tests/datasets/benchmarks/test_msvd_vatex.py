from __future__ import annotations

import collections
import contextlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.annotations import (
    python2_pickle,
    write_json,
    write_list,
    write_msvd_json,
    write_msvd_pickle,
    write_vatex,
)
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import read_dataset
from vopcli.datasets.records import Annotations, CaptionedVideo
from vopcli.errors import DataError
from vopcli.files.plain_pickle import read_plain_pickle

MSVD, VATEX = DatasetName.MSVD, DatasetName.VATEX
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
    assert from_pickle.split("val").pairs() == [("-bCdEfGhIjK_0_9", "a man is cooking")]
    test = from_pickle.split("test")
    assert test.report.without_captions == ("unknown_0_1",)
    assert test.queries().owners == (0, 0, 0)
    assert test.report.notes == (
        "1 captions repeat another of the same video: kept",
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
    assert notes == ("raw-captions.pkl is there too: captions_msvd.json was read",)


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(python2_pickle({"a_1_2": [[b"a", b"caf\xe9"], [b"it's"]], "b_1_2": [[b"x"]]}))
    assert read_plain_pickle(path) == {"a_1_2": [["a", "caf\u00e9"], ["it's"]], "b_1_2": [["x"]]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [collections.OrderedDict, dict, collections.defaultdict])
def test_containers_and_bytes(tmp_path: Path, kind: type[dict[bytes, object]], protocol: int) -> None:
    document = kind(list) if kind is collections.defaultdict else kind()  # type: ignore[call-arg]
    document[b"v"] = [(b"caf\xe9", "\u4e2d"), ["x"]]
    (tmp_path / "p").write_bytes(pickle.dumps(document, protocol=protocol))
    assert read_plain_pickle(tmp_path / "p") == {"v": [["caf\u00e9", "\u4e2d"], ["x"]]}


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
        (b"ccollections\nOrderedDict\n(dS'__class__'\nNsb.", "is no pickle of captions"),
        (b"ccollections\nOrderedDict\nN(dS'x'\nNs\x86b.", "is no pickle of captions"),
        (b"", "is no pickle of captions"),
        (b"(lp0\ng0\na.", "is no pickle of captions|must map each video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no pickle of captions"),
        (pickle.dumps(CAPTIONS)[:-9], "is no pickle of captions"),
        (pickle.dumps([1, 2]), "must map each video to a list of captions"),
        (pickle.dumps({"a": "text"}), "the captions of 'a' must be a list of texts, not 'text'"),
        (pickle.dumps({"a": [["x", 7]]}), "the captions of 'a' must be a list of texts"),
        (pickle.dumps({"a": [[["x"]]]}), "the captions of 'a' must be a list of texts"),
        (pickle.dumps({7: ["x"]}), "the video 7 must be named by text"),
    ],
)
def test_pickles_that_are_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    write_lists(tmp_path)
    (tmp_path / "raw-captions.pkl").write_bytes(data)
    with pytest.raises(DataError, match=problem) as caught:
        read_msvd(tmp_path)
    assert "raw-captions.pkl" in str(caught.value)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        read_plain_pickle(path)


def test_neither_file_of_captions(tmp_path: Path) -> None:
    write_lists(tmp_path)
    with pytest.raises(DataError, match=r"captions_msvd\.json or raw-captions\.pkl is missing"):
        read_msvd(tmp_path)


def test_vatex_lists(tmp_path: Path) -> None:
    ten = [f"A dog runs {n}." for n in range(10)]
    captions = {
        "AbCdEfGhIjK_000010_000020": ten,
        "v2_000000_000010": ten[:9],
        "v3_000000_000010": [*ten[1:], "x"],
    }
    write_vatex(tmp_path, captions, train=["v2_000000_000010"], test=["AbCdEfGhIjK_000010_000020"])
    annotations = read_dataset(VATEX, tmp_path)
    assert list(annotations.splits) == ["train", "test"]
    assert annotations.split("test").videos == (CaptionedVideo("AbCdEfGhIjK_000010_000020", tuple(ten)),)
    assert annotations.split("train").report.notes == (
        "1 videos have another number of captions than 10: v2_000000_000010 has 9",
    )
    write_list(tmp_path / "val_list.txt", ["v3_000000_000010"])
    assert list(read_dataset(VATEX, tmp_path).splits) == ["train", "val", "test"]
    (tmp_path / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"val_list\.txt is missing"):
        read_dataset(VATEX, tmp_path, splits=["val"])


@pytest.mark.parametrize("document", [[], {"a": "x"}, {"a": [1]}, {"a": {"en": ["x"]}}])
def test_vatex_of_another_shape(tmp_path: Path, document: object) -> None:
    write_list(tmp_path / "test_list.txt", ["a"])
    write_json(tmp_path / "ref_captions.json", document)
    with pytest.raises(DataError, match=r"ref_captions\.json: (must map|the captions of 'a' must be a list)"):
        read_dataset(VATEX, tmp_path, splits=["test"])
