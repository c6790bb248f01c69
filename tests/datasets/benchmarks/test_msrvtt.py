from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.annotations import msrvtt_document, pairs, write_list, write_msrvtt, write_videos
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import find_dataset_files, index_dataset_files, read_dataset
from vopcli.datasets.records import CaptionedVideo
from vopcli.errors import DataError

NINE_K = DatasetName.MSRVTT_9K

CAPTIONS = [
    ("video9", "a cat sleeps"),
    ("video7", "a dog runs"),
    ("video9", " a Cat  sleeps, twice"),
    ("video8", "nobody lists this one"),
    ("video7", "a dog runs"),
]
TEST = [("video7021", "a dog runs on a beach"), ("video7020", "a man sings"), ("video7900", "a man sings")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_captions_stay_with_their_video_in_the_order_of_the_list(tmp_path: Path, newline: str) -> None:
    write_msrvtt(tmp_path, train=["video7", "video9"], captions=CAPTIONS, test=TEST, newline=newline)
    annotations = read_dataset(NINE_K, tmp_path)
    train, test = annotations.split("train"), annotations.split("test")
    assert train.videos == (
        CaptionedVideo("video7", ("a dog runs", "a dog runs")),
        CaptionedVideo("video9", ("a cat sleeps", " a Cat  sleeps, twice")),
    )
    assert test.videos == tuple(CaptionedVideo(video, (text,)) for video, text in TEST)
    assert test.queries().texts == ("a dog runs on a beach", "a man sings", "a man sings")
    assert test.queries().owners == (0, 1, 2)
    assert test.queries().videos == ("video7021", "video7020", "video7900")
    assert test.report.notes == ("1 captions occur with more than one video",)
    assert train.report.notes == (
        "1 captions are duplicates of another of their video: kept",
        "2 videos do not have 20 captions: video7 has 2, video9 has 2",
    )


def test_training_pairs_are_one_a_caption(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video9", "video7"], captions=CAPTIONS, test=TEST)
    assert pairs(read_dataset(NINE_K, tmp_path).split("train")) == [
        ("video9", "a cat sleeps"),
        ("video9", " a Cat  sleeps, twice"),
        ("video7", "a dog runs"),
        ("video7", "a dog runs"),
    ]


def test_only_a_count_other_than_twenty_is_noted(tmp_path: Path) -> None:
    captions = [(video, f"caption {n}") for video in ("video1", "video2") for n in range(20)]
    write_msrvtt(tmp_path, train=["video1", "video2"], captions=captions[:-1], test=TEST)
    notes = read_dataset(NINE_K, tmp_path, splits=["train"]).split("train").report.notes
    assert "1 videos do not have 20 captions: video2 has 19" in notes
    assert not any("video1" in note for note in notes)


def full_size_ids() -> tuple[list[str], list[str]]:
    """The published structure: the test's 1000 lie in 7020..9975, and the 9k list is all the others."""
    test = [7020 + n * 2955 // 999 for n in range(1000)]
    test = sorted(test, key=lambda number: (number * 7919) % 10007)  # the file is not sorted
    nine_k = sorted(set(range(10_000)) - set(test))
    return [f"video{n}" for n in nine_k], [f"video{n}" for n in test]


def test_full_size_lists_give_the_published_counts(tmp_path: Path) -> None:
    nine_k, test = full_size_ids()
    seven_k = sorted(f"video{n}" for n in range(7010))
    captions = [(f"video{n}", f"c{n} {k}") for k in range(20) for n in range(10_000)]
    sentences = [(video, f"s{row}") for row, video in enumerate(test)]
    for first, second in ((0, 1), (0, 2), (5, 6), (8, 9), (11, 12)):  # 995 different sentences
        sentences[second] = (sentences[second][0], sentences[first][1])
    write_msrvtt(tmp_path, train=nine_k, captions=captions, test=sentences)
    write_list(tmp_path / "MSRVTT_train.7k.csv", ["video_id", *seven_k])

    annotations = read_dataset(NINE_K, tmp_path)
    train, held_out = annotations.split("train"), annotations.split("test")
    assert [video.video for video in train.videos] == nine_k
    assert (train.report.num_used, train.report.num_captions) == (9000, 180_000)
    assert pairs(train)[20:22] == [(nine_k[1], "c1 0"), (nine_k[1], "c1 1")]
    assert train.report.notes == ()
    assert [video.video for video in held_out.videos] == test
    assert (held_out.report.num_used, held_out.report.num_captions) == (1000, 1000)
    assert len(set(held_out.queries().texts)) == 995
    assert held_out.report.notes == ("4 captions occur with more than one video",)

    smaller = read_dataset(DatasetName.MSRVTT_7K, tmp_path, splits=["train"]).split("train")
    assert [video.video for video in smaller.videos[:3]] == ["video0", "video1", "video10"]
    assert (smaller.report.num_used, smaller.report.num_captions) == (7010, 140_200)


def test_an_mp4_goes_before_a_webm(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video7", "video9"], captions=CAPTIONS, test=TEST)
    write_videos(tmp_path / "videos", ["video7.webm", "video7.mp4", "all/video9.webm", "video9.json"])
    files = index_dataset_files(NINE_K, tmp_path)
    found = find_dataset_files(read_dataset(NINE_K, tmp_path, splits=["train"]), NINE_K, files)
    assert [video.file for video in found.split("train").videos] == [
        "videos/video7.mp4",
        "videos/all/video9.webm",
    ]
    preferred = index_dataset_files(NINE_K, tmp_path, prefer=[".webm"])
    assert preferred.by_stem("video7") == ("videos/video7.webm",)


def test_unknown_ids_are_named(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video7", "video77", "video7"], captions=CAPTIONS, test=TEST)
    report = read_dataset(NINE_K, tmp_path).split("train").report
    assert (report.num_listed, report.num_with_captions, report.num_used) == (2, 1, 1)
    assert report.without_captions == ("video77",)
    assert "MSRVTT_train.9k.csv has 1 duplicates: counted once" in report.notes


def test_lists_and_captions_that_have_nothing_in_common(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["7", "9"], captions=CAPTIONS, test=TEST)
    with pytest.raises(
        DataError, match="none of the 2 videos of the split 'train' has a caption, such as '7'"
    ):
        read_dataset(NINE_K, tmp_path)


def test_a_video_of_the_test_in_training_is_noted(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video7", "video9"], captions=CAPTIONS, test=[("video9", "a cat")])
    notes = read_dataset(NINE_K, tmp_path).split("test").report.notes
    assert notes == ("1 videos are in 'train' and in 'test': video9",)


def test_evaluation_needs_the_test_file_alone(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video7"], captions=CAPTIONS, test=TEST)
    (tmp_path / "MSRVTT_data.json").unlink()
    (tmp_path / "MSRVTT_train.9k.csv").unlink()
    assert len(read_dataset(NINE_K, tmp_path, splits=["test"]).split("test").videos) == 3
    with pytest.raises(DataError, match=r"MSRVTT_train\.9k\.csv is missing: not found in .*/annotations"):
        read_dataset(NINE_K, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("MSRVTT_train.9k.csv", "id\nvideo7\n", r"no column video_id; its first line is 'id'"),
        ("MSRVTT_train.9k.csv", "", r"train\.9k\.csv is empty"),
        ("MSRVTT_train.9k.csv", "video_id\n", r"names no video"),
        ("MSRVTT_JSFUSION_test.csv", "key,video_id\nret0,video1\n", "no column sentence"),
        ("MSRVTT_JSFUSION_test.csv", "key,video_id,sentence\nr,v,a, b\nr,w,a\n", "line 2: 4 fields where"),
        ("MSRVTT_JSFUSION_test.csv", 'key,video_id,sentence\nr,v,"a" b\n', "line 2: "),
        ("MSRVTT_data.json", "[1]", "must be an object with a list of 'sentences'"),
        ("MSRVTT_data.json", '{"sentences": {}}', "must be an object with a list of 'sentences'"),
        ("MSRVTT_data.json", '{"sentences": [{"video_id": 7}]}', "sentence 0 must have a 'video_id' and"),
        ("MSRVTT_data.json", "version https://git-lfs", "is not JSON: Expecting value at line 1, column 1"),
        ("MSRVTT_data.json", "[" * 100_000, "is unsupported JSON"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, name: str, content: str, problem: str) -> None:
    write_msrvtt(tmp_path, train=["video7"], captions=CAPTIONS, test=TEST)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_dataset(NINE_K, tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_copy_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_msrvtt(tmp_path, train=["video7"], captions=CAPTIONS, test=TEST)
    for path in tmp_path.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_dataset(NINE_K, tmp_path).split("test").videos) == 3


def test_files_in_a_folder_annotations(tmp_path: Path) -> None:
    write_msrvtt(tmp_path / "annotations", train=["video7"], captions=CAPTIONS, test=TEST)
    assert read_dataset(NINE_K, tmp_path).split("train").videos[0].video == "video7"


def test_the_fixture_is_the_published_format() -> None:
    document = json.loads(json.dumps(msrvtt_document([("video7", "a dog runs")])))
    assert set(document) == {"info", "videos", "sentences"}
    assert document["sentences"] == [{"sen_id": 0, "video_id": "video7", "caption": "a dog runs"}]
