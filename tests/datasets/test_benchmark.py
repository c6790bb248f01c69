from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.annotations import write_msrvtt, write_videos
from tests.support.progress import Warnings
from tests.support.videos import make_video
from vopcli.config.choices import DatasetName
from vopcli.config.schema import DataConfig
from vopcli.datasets.benchmark import (
    add_ranges,
    complete_request,
    find_benchmark_videos,
    read_benchmark,
    require_benchmark,
)
from vopcli.errors import UsageError
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.progress import SilentProgress


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    captions = [(f"video{number}", f"caption {number}") for number in range(5)]
    train = [video for video, _ in captions]
    write_msrvtt(tmp_path, train=train, captions=captions, test=[("video7", "a test")])
    write_videos(tmp_path, ["a/video0.mp4", "video2.mp4", "video7.webm", "video7.mp4", "other.mp4"])
    return DataConfig(dataset=DatasetName.MSRVTT_9K, root=str(tmp_path))


def test_a_benchmark_needs_name_and_folder(data: DataConfig, tmp_path: Path) -> None:
    assert require_benchmark(data) == (DatasetName.MSRVTT_9K, tmp_path)
    with pytest.raises(UsageError, match=r"^no benchmark is given$"):
        require_benchmark(DataConfig())
    with pytest.raises(UsageError, match=r"^the folder of vatex is not given$"):
        require_benchmark(DataConfig(dataset=DatasetName.VATEX))


def test_videos_to_skip_come_from_a_file_or_a_list_of_a_project(tmp_path: Path, data: DataConfig) -> None:
    (tmp_path / "skip.txt").write_text("video1\nvideo3\n")
    skipping = DataConfig(dataset=data.dataset, root=data.root, skip=str(tmp_path / "skip.txt"))
    assert read_benchmark(skipping).split("train").report.skipped == ("video1", "video3")
    unknown = DataConfig(dataset=data.dataset, root=data.root, skip="dgl")
    with pytest.raises(UsageError, match="msrvtt-9k has no list of skipped videos 'dgl'"):
        read_benchmark(unknown)


def test_the_preferred_suffix_is_found(data: DataConfig) -> None:
    for prefer, file in ((None, "video7.mp4"), ("webm", "video7.webm"), (" .avi, .webm", "video7.webm")):
        preferring = DataConfig(dataset=data.dataset, root=data.root, prefer=prefer)
        _, found = find_benchmark_videos(preferring, read_benchmark(preferring))
        assert [video.file for video in found.split("test").videos] == [file]


def test_a_request_takes_the_listed_videos(tmp_path: Path, data: DataConfig) -> None:
    told = Warnings()
    request = complete_request(ExtractRequest([], tmp_path / "out.h5", data), None, told)
    assert (request.sources, request.names) == ([tmp_path], ["a/video0.mp4", "video2.mp4", "video7.mp4"])
    *sizes, missing = told.warnings
    assert [size.partition(":")[0] for size in sizes] == [
        f"{split} differs from the published size" for split in ("train", "test")
    ]
    assert missing == "train: 3 videos have no file: video1, video3, video4"
    only_test = complete_request(ExtractRequest([], tmp_path / "out.h5", data), ["test"], told)
    assert only_test.names == ["video7.mp4"]
    with pytest.raises(UsageError, match="--split selects videos below the benchmark's folder"):
        complete_request(ExtractRequest([tmp_path], tmp_path / "out.h5", data), ["test"], told)


def test_a_folder_is_walked_once_for_ranges_and_extraction(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    make_video(folder / "a.mp4", num_frames=10)
    (tmp_path / "c.jsonl").write_text('{"video": "a", "caption": "x", "start": 0, "end": 0.2}\n')
    data = DataConfig(captions=str(tmp_path / "c.jsonl"), size=32, num_frames=2, workers=0)
    request = add_ranges(ExtractRequest([folder], tmp_path / "out.h5", data), SilentProgress())
    shutil.copyfile(folder / "a.mp4", folder / "later.mp4")
    summary = extract(request, SilentProgress())
    assert (summary.num_found, summary.num_frames) == (1, 4)
