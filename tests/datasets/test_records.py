from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from vopcli.datasets.filter import find_files, keep_last_caption, require_complete, skip_videos
from vopcli.datasets.records import Annotations, CaptionedVideo, TimeWindow, build_split, listing
from vopcli.errors import DataError, UsageError

CAPTIONS = {"a": ["one", "two"], "b": ["three"], "c": ["four"], "unlisted": ["five"], "empty": []}


def dataset() -> Annotations:
    train = build_split("train", ["b", "a", "empty", "c"], CAPTIONS, notes=["odd"])
    return Annotations("set", {"train": train, "test": build_split("test", ["d"], {"d": ["six"]})})


def find(files: Mapping[str, list[str]], *, strict: bool = False) -> Annotations:
    return find_files(dataset(), lambda video: files.get(video, []), strict=strict)


def test_what_is_listed_and_has_captions() -> None:
    train = dataset().split("train")
    assert train.videos == (
        CaptionedVideo("b", ("three",)),
        CaptionedVideo("a", ("one", "two")),
        CaptionedVideo("c", ("four",)),
    )
    assert train.report.as_json() == {
        "listed": 4,
        "with_captions": 3,
        "with_file": None,
        "used": 3,
        "captions": 4,
        "found_ratio": 1.0,
        "without_captions": ["empty"],
        "without_file": [],
        "skipped": [],
        "notes": ["odd"],
    }
    assert train.queries().texts == ("three", "one", "two", "four")
    assert train.queries().owners == (0, 1, 1, 2)
    assert train.queries().videos == ("b", "a", "c")


def test_files_make_the_keys() -> None:
    found = find({"a": ["x/a.mp4"], "b": ["b.avi"], "d": ["d.mp4"]})
    train = found.split("train")
    assert train.pairs() == [("b.avi", "three"), ("x/a.mp4", "one"), ("x/a.mp4", "two")]
    assert train.report.as_json() == {
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
    }
    json.dumps(train.report.as_json())
    assert found.windows() == {"b.avi": None, "x/a.mp4": None, "d.mp4": None}


def test_a_missing_file_is_refused_on_demand() -> None:
    files = {"a": ["a.mp4"], "d": ["d.mp4"]}
    with pytest.raises(DataError, match=r"^2 of 4 videos of set have no file: train: b, c$"):
        find(files, strict=True)
    require_complete(find(files), ["test"])
    with pytest.raises(DataError, match="train: b, c"):
        require_complete(find(files), ["train"])


def test_two_files_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^1 videos of set have more than one file: a is a\.mp4 or b/a\.avi$"
    ):
        find({"a": ["a.mp4", "b/a.avi"], "b": ["b"]})


def test_no_file_at_all_is_another_folder() -> None:
    with pytest.raises(DataError, match="no file was found for any of the 4 videos of set, such as 'b'"):
        find({"b.mp4": ["b.mp4"]})


def test_skipped_videos_are_no_missing_ones() -> None:
    skipped = skip_videos(dataset(), ["c", "b", "nowhere"])
    found = find_files(skipped, lambda video: [video] if video != "c" else [], strict=True).split("train")
    assert [video.video for video in found.videos] == ["a"]
    assert found.report.skipped == ("b", "c")
    assert (found.report.num_with_captions, found.report.num_used, found.report.found_ratio) == (3, 1, 1.0)


def test_last_captions() -> None:
    last = keep_last_caption(dataset()).split("train")
    assert last.pairs() == [("b", "three"), ("a", "two"), ("c", "four")]
    assert last.report.num_captions == 3


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="set has no split 'val'") as caught:
        dataset().split("val")
    assert caught.value.hint == "its splits: train (3 videos), test (1 videos)"


def test_windows_that_contradict_each_other() -> None:
    splits = {
        name: build_split(name, ["a"], CAPTIONS, windows={"a": TimeWindow(0, end)})
        for name, end in (("val", 1), ("test", 2))
    }
    with pytest.raises(DataError, match="set wants two different parts of a"):
        Annotations("set", splits).windows()
    same = {"val": splits["val"], "test": splits["val"]}
    assert Annotations("set", same).windows() == {"a": TimeWindow(0, 1)}


def test_empty_captions_are_kept_and_noted() -> None:
    split = build_split("train", ["a", "b"], {"a": ["x", " "], "b": ["y"]})
    assert split.pairs() == [("a", "x"), ("a", " "), ("b", "y")]
    assert split.report.notes == ("1 videos have an empty caption: kept (a)",)


def test_listing_names_ten() -> None:
    assert listing(["a", "b"]) == "a, b"
    assert listing([str(n) for n in range(13)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"
