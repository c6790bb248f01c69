from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotations import write_didemo, write_json, write_list, write_videos
from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.datasets.benchmarks.registry import (
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    read_dataset,
)
from vopcli.datasets.records import Annotations, CaptionedVideo
from vopcli.datasets.video_files import VideoFiles
from vopcli.errors import DataError
from vopcli.video.video_file import TimeWindow

DIDEMO = DatasetName.DIDEMO
FIRST = TimeWindow(0.0, 31.0)

ROWS = [
    ("12@N00_34_ab.mov", "a cat jumps"),
    ("56@N01_78_cd.", "The dog runs.\n"),
    ("99@N09_99_zz.avi", "nobody lists this one"),
    ("12@N00_34_ab.mov", " off the sofa "),
    ("90@N02_12_ef.null", "rain"),
    ("56@N01_78_cd.", "then it stops"),
]
LISTED = ["90@N02_12_ef.null", "56@N01_78_cd.", "12@N00_34_ab.mov"]


def read(root: Path) -> Annotations:
    return read_dataset(DIDEMO, root, splits=["val"])


def test_paragraphs_in_the_order_of_the_descriptions(tmp_path: Path) -> None:
    write_didemo(tmp_path, "val", ROWS, LISTED)
    val = read(tmp_path).split("val")
    assert val.videos == (
        CaptionedVideo("12@N00_34_ab.mov", ("a cat jumps  off the sofa ",), FIRST),
        CaptionedVideo("56@N01_78_cd.", ("The dog runs.\n then it stops",), FIRST),
        CaptionedVideo("90@N02_12_ef.null", ("rain",), FIRST),
    )
    assert val.report.notes == ("1 videos of val_data.json are not in val_list.txt: 99@N09_99_zz.avi",)


def test_each_description_is_a_query_of_the_whole_video(tmp_path: Path) -> None:
    write_didemo(tmp_path, "val", ROWS, LISTED)
    val = read_dataset(DIDEMO, tmp_path, splits=["val"], queries=QueryUnit.SENTENCES).split("val")
    assert val.videos == (
        CaptionedVideo("12@N00_34_ab.mov", ("a cat jumps", " off the sofa "), FIRST),
        CaptionedVideo("56@N01_78_cd.", ("The dog runs.\n", "then it stops"), FIRST),
        CaptionedVideo("90@N02_12_ef.null", ("rain",), FIRST),
    )


def test_crlf_lists_and_a_last_line_without_end(tmp_path: Path) -> None:
    write_didemo(tmp_path, "val", ROWS, LISTED)
    plain = read(tmp_path)
    write_list(tmp_path / "val_list.txt", LISTED, newline="\r\n", at_end=False)
    assert read(tmp_path) == plain


def test_a_listed_video_without_description_is_named(tmp_path: Path) -> None:
    write_didemo(tmp_path, "val", ROWS, [*LISTED, "00@N00_00_00.mpg"])
    report = read(tmp_path).split("val").report
    assert report.without_captions == ("00@N00_00_00.mpg",)
    assert (report.num_listed, report.num_with_captions, report.num_used) == (4, 3, 3)


@pytest.mark.parametrize(
    "names",
    [
        ["12@N00_34_ab.mov", "deep/er/56@N01_78_cd.", "90@N02_12_ef.null"],
        ["12@N00_34_ab.mov.mp4", "deep/er/56@N01_78_cd..mp4", "90@N02_12_ef.null.avi"],
        ["12@N00_34_ab.mp4", "deep/er/56@N01_78_cd.mp4", "90@N02_12_ef.mkv"],
    ],
    ids=["own name", "a suffix more", "another suffix"],
)
def test_files_by_name_then_by_stem(tmp_path: Path, names: list[str]) -> None:
    write_didemo(tmp_path, "val", ROWS, LISTED)
    write_videos(tmp_path / "videos", names)
    found = find_dataset_files(read(tmp_path), DIDEMO, index_dataset_files(DIDEMO, tmp_path / "videos"))
    cat, dog, rain = names
    assert [video.file for video in found.split("val").videos] == [cat, dog, rain]
    assert found.windows() == {cat: FIRST, dog: FIRST, rain: FIRST}
    assert [video.captions for video in found.split("val").videos] == [
        ("a cat jumps  off the sofa ",),
        ("The dog runs.\n then it stops",),
        ("rain",),
    ]


def test_its_own_name_goes_before_a_copy(tmp_path: Path) -> None:
    write_didemo(tmp_path, "val", ROWS[:1], ["12@N00_34_ab.mov"])
    files = VideoFiles(["12@N00_34_ab.mov", "small/12@N00_34_ab.mp4"])
    found = find_dataset_files(read(tmp_path), DIDEMO, files)
    assert found.split("val").videos[0].file == "12@N00_34_ab.mov"


def test_list_filter_at_the_published_size(tmp_path: Path) -> None:
    """The val file's size: 4180 rows of 1094 videos, of which the list keeps 1065."""
    videos = [f"{n}@N00_{n}_ab.{'' if n % 89 == 0 else 'mov'}" for n in range(1094)]
    rows = [(videos[n % 1094], f"description {n}") for n in range(4180)]
    write_didemo(tmp_path, "val", rows, sorted(videos[29:], reverse=True))
    val = read(tmp_path).split("val")
    assert [video.video for video in val.videos] == videos[29:]
    assert (val.report.num_listed, val.report.num_used, val.report.num_captions) == (1065, 1065, 1065)
    assert val.report.notes[0].startswith("29 videos of val_data.json are not in val_list.txt")


def test_three_splits_and_the_videos_dgl_skips(tmp_path: Path) -> None:
    lost = get_skip_list(DIDEMO, "dgl")
    assert len(lost) == 3
    write_didemo(tmp_path, "train", [(video, "gone") for video in lost] + ROWS[:1], [*lost, ROWS[0][0]])
    write_didemo(tmp_path, "val", ROWS[1:2], [ROWS[1][0]])
    write_didemo(tmp_path, "test", ROWS[4:5], [ROWS[4][0]])
    assert list(read_dataset(DIDEMO, tmp_path).splits) == ["train", "val", "test"]
    skipped = read_dataset(DIDEMO, tmp_path, skip_ids=lost).split("train")
    assert [video.video for video in skipped.videos] == [ROWS[0][0]]
    assert skipped.report.skipped == lost
    assert (skipped.report.num_listed, skipped.report.num_used, skipped.report.num_captions) == (4, 1, 1)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "must be a list of descriptions"),
        ([{"video": "a.mov"}], "entry 0 must have a 'video' and a 'description'"),
        (
            [{"video": "a.mov", "description": "x"}, 7],
            "entry 1 must have a 'video' and a 'description', not 7",
        ),
    ],
)
def test_wrong_shapes(tmp_path: Path, document: object, problem: str) -> None:
    write_list(tmp_path / "val_list.txt", ["a.mov"])
    write_json(tmp_path / "val_data.json", document)
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "val_data.json", [])
    with pytest.raises(DataError, match=r"val_list\.txt is missing: not found in"):
        read(tmp_path)
