from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.datasets.test_records import dataset
from tests.support.annotations import pairs
from vopcli.datasets.filter import find_files, keep_last_caption, note_overlaps, require_complete, skip_videos
from vopcli.datasets.records import Annotations, build_split
from vopcli.errors import DataError


def find(files: Mapping[str, list[str]]) -> Annotations:
    return find_files(dataset(), lambda video: files.get(video, []))


def test_files_make_the_keys() -> None:
    found = find({"a": ["x/a.mp4"], "b": ["b.avi"], "d": ["d.mp4"]})
    train = found.split("train")
    assert pairs(train) == [("b.avi", "three"), ("x/a.mp4", "one"), ("x/a.mp4", "two")]
    assert train.report.to_json() == {
        "listed": 4,
        "with_captions": 3,
        "with_file": 2,
        "used": 2,
        "captions": 3,
        "found_ratio": 2 / 3,
        "without_captions": ["empty"],
        "without_file": ["c"],
        "skipped": [],
        "notes": ["odd"],
        "other_size": "",
        "ranges": 0,
    }
    json.dumps(train.report.to_json())
    assert found.windows() == {"b.avi": None, "x/a.mp4": None, "d.mp4": None}


def test_a_missing_file_is_refused_on_demand() -> None:
    files = {"a": ["a.mp4"], "d": ["d.mp4"]}
    with pytest.raises(DataError, match=r"^2 of 4 videos of set have no file: train: b, c$"):
        require_complete(find(files))
    require_complete(find(files), ["test"])
    with pytest.raises(DataError, match=r"^2 of 3 videos of set have no file: train: b, c$"):
        require_complete(find(files), ["train"])


def test_two_files_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^1 videos of set have more than one file: a matches a\.mp4, b/a\.avi$"
    ):
        find({"a": ["a.mp4", "b/a.avi"], "b": ["b"]})


def test_no_file_at_all_is_another_folder() -> None:
    with pytest.raises(DataError, match="none of the 4 videos of set has a file, such as 'b'"):
        find({"b.mp4": ["b.mp4"]})


def test_skipped_videos_are_no_missing_ones() -> None:
    skipped = skip_videos(dataset(), ["c", "b", "nowhere"])
    annotations = find_files(skipped, lambda video: [video] if video != "c" else [])
    require_complete(annotations)
    found = annotations.split("train")
    assert [video.video for video in found.videos] == ["a"]
    assert found.report.skipped == ("b", "c")
    assert (found.report.num_with_captions, found.report.num_used, found.report.found_ratio) == (3, 1, 1.0)


def test_last_captions() -> None:
    last = keep_last_caption(dataset()).split("train")
    assert pairs(last) == [("b", "three"), ("a", "two"), ("c", "four")]
    assert last.report.num_captions == 3


def test_videos_of_an_earlier_split_are_noted_in_the_later_one() -> None:
    captions = {name: [name] for name in "abc"}
    splits = {
        name: build_split(name, list(listed), captions) for name, listed in (("train", "ab"), ("test", "cb"))
    }
    noted = note_overlaps(Annotations("set", splits))
    assert noted.split("train").report.notes == ()
    assert noted.split("test").report.notes == ("1 videos are in 'train' and in 'test': b",)
