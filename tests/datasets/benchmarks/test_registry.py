from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.annotations import lsmdc_id, write_lsmdc, write_vatex, write_videos
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import (
    BENCHMARKS,
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    index_dataset_keys,
    read_dataset,
)
from vopcli.datasets.filter import require_complete
from vopcli.errors import DataError, UsageError


def test_published_sizes_are_of_the_splits() -> None:
    for benchmark in BENCHMARKS.values():
        assert set(benchmark.sizes) <= set(benchmark.splits)
    sizes = {
        name.value: {split: tuple(size) for split, size in BENCHMARKS[name].sizes.items()}
        for name in BENCHMARKS
    }
    assert sizes["msvd"] == {"train": (1200, 48_774), "val": (100, 4290), "test": (670, 27_763)}
    assert sizes["activitynet"] == {"train": (10_009, 10_009), "test": (4917, 4917)}
    counts = {name: held["test"][0] for name, held in sizes.items() if "test" in held}
    assert counts == counts | {
        **dict.fromkeys(("msrvtt-9k", "msrvtt-7k", "lsmdc"), 1000),
        "didemo": 1004,
        "activitynet": 4917,
        "msvd": 670,
        "vatex": 1500,
    }


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1000, ""),
        (30, "30 videos instead of 1,000, 30 captions instead of 1,000"),
        (1001, "1,001 videos instead of 1,000, 1,001 captions instead of 1,000"),
    ],
)
def test_a_release_of_another_size_is_told_whatever_is_left_out_or_missing(
    tmp_path: Path, count: int, text: str
) -> None:
    names = [lsmdc_id("1000_Some_Movie", number) for number in range(count)]
    write_lsmdc(tmp_path, "test", [(name, f"number {at}") for at, name in enumerate(names)])
    read = read_dataset(DatasetName.LSMDC, tmp_path, splits=["test"], skip_ids=names[:2])
    assert read.split("test").report.other_size == text
    write_videos(tmp_path, [f"{name}.avi" for name in names[:5]])
    files = index_dataset_files(DatasetName.LSMDC, tmp_path)
    report = find_dataset_files(read, DatasetName.LSMDC, files).split("test").report
    assert (report.num_used, report.other_size) == (3, text)


def test_a_size_that_is_not_published_is_not_judged(tmp_path: Path) -> None:
    clip = lsmdc_id("1000_Some_Movie", 1)
    write_lsmdc(tmp_path, "val", [(clip, f"number {at}") for at in range(7408)])
    read = read_dataset(DatasetName.LSMDC, tmp_path, splits=["val"], last_caption_only=True)
    assert read.split("val").report.other_size == ""


def test_a_name_without_a_record_is_an_import_error() -> None:
    code = (
        "import vopcli.config.choices as choices\n"
        "from enum import Enum\n"
        "members = {one.name: one.value for one in choices.DatasetName}\n"
        "choices.DatasetName = Enum('DatasetName', members | {'NEW': 'new'}, type=str)\n"
        "import vopcli.datasets.benchmarks.registry\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "TypeError: BENCHMARKS has no record for new" in done.stderr


@pytest.mark.parametrize("dataset", DatasetName)
def test_an_empty_or_wrong_root_is_told_in_one_line(dataset: DatasetName, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is missing: not found in .* and .*/annotations$") as caught:
        read_dataset(dataset, tmp_path)
    assert "published" in caught.value.hint
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_dataset(dataset, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a folder"):
        read_dataset(dataset, tmp_path / "file")


def test_unknown_splits_and_skip_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="msrvtt-9k has no split 'val'") as caught:
        read_dataset(DatasetName.MSRVTT_9K, tmp_path, splits=["val"])
    assert caught.value.hint == "use one of train, test"
    with pytest.raises(UsageError, match="lsmdc has no list of skipped videos 'xpool'") as caught:
        get_skip_list(DatasetName.LSMDC, "xpool")
    assert caught.value.hint == "did you mean x-pool?"
    with pytest.raises(UsageError, match="msvd has no list") as caught:
        get_skip_list(DatasetName.MSVD, "dgl")
    assert caught.value.hint == "its lists: none"


def test_from_a_folder_and_from_a_store_alike(tmp_path: Path) -> None:
    names = ["v/a_000001_000011.mkv", "b_000001_000011.mp4"]
    captions = {
        name: [f"{name} {n}" for n in range(10)] for name in ("a_000001_000011", "b_000001_000011", "c_1_2")
    }
    write_vatex(tmp_path, captions, train=["b_000001_000011"], test=["a_000001_000011", "c_1_2"])
    write_videos(tmp_path, names)
    annotations = read_dataset(DatasetName.VATEX, tmp_path)
    by_folder = find_dataset_files(
        annotations, DatasetName.VATEX, index_dataset_files(DatasetName.VATEX, tmp_path)
    )
    by_store = find_dataset_files(
        annotations, DatasetName.VATEX, index_dataset_keys(DatasetName.VATEX, names)
    )
    assert by_folder == by_store
    assert by_folder.split("test").report.without_file == ("c_1_2",)
    with pytest.raises(DataError, match="1 of 3 videos of vatex have no file: test: c_1_2"):
        require_complete(by_store)


def test_a_store_with_two_suffixes_of_one_video() -> None:
    keys = ["video7.webm", "video7.mp4"]
    assert index_dataset_keys(DatasetName.MSRVTT_9K, keys).by_stem("video7") == ("video7.mp4",)
    preferred = index_dataset_keys(DatasetName.MSRVTT_9K, keys, prefer=[".webm"])
    assert preferred.by_stem("video7") == ("video7.webm",)


def test_reading_loads_nothing_heavy() -> None:
    code = "import vopcli.datasets.benchmarks.registry, vopcli.datasets.captions, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "vopcli.datasets.captions" in loaded
    assert not loaded & {"numpy", "torch", "h5py", "av", "cv2", "yaml"}
