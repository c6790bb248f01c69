from __future__ import annotations

import pytest

from tests.support.annotations import pairs
from vopcli.datasets.records import Annotations, CaptionedVideo, TimeWindow, build_split, format_names
from vopcli.errors import DataError, UsageError

CAPTIONS = {"a": ["one", "two"], "b": ["three"], "c": ["four"], "unlisted": ["five"], "empty": []}


def dataset() -> Annotations:
    train = build_split("train", ["b", "a", "empty", "c"], CAPTIONS, notes=["odd"])
    return Annotations("set", {"train": train, "test": build_split("test", ["d"], {"d": ["six"]})})


def test_what_is_listed_and_has_captions() -> None:
    train = dataset().split("train")
    assert train.videos == (
        CaptionedVideo("b", ("three",)),
        CaptionedVideo("a", ("one", "two")),
        CaptionedVideo("c", ("four",)),
    )
    assert train.report.to_json() == {
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
        "other_size": "",
        "ranges": 0,
    }
    assert train.queries().texts == ("three", "one", "two", "four")
    assert train.queries().owners == (0, 1, 1, 2)
    assert train.queries().videos == ("b", "a", "c")


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="set has no split 'val'") as caught:
        dataset().split("val")
    assert caught.value.hint == "use one of its splits: train (3 videos), test (1 videos)"


def test_windows_that_contradict_each_other() -> None:
    splits = {
        name: build_split(name, ["a"], CAPTIONS, windows={"a": TimeWindow(0, end)})
        for name, end in (("val", 1), ("test", 2))
    }
    with pytest.raises(DataError, match="set annotates two different parts of 'a'"):
        Annotations("set", splits).windows()
    same = {"val": splits["val"], "test": splits["val"]}
    assert Annotations("set", same).windows() == {"a": TimeWindow(0, 1)}


def test_empty_captions_are_kept_and_noted() -> None:
    split = build_split("train", ["a", "b"], {"a": ["x", " "], "b": ["y"]})
    assert pairs(split) == [("a", "x"), ("a", " "), ("b", "y")]
    assert split.report.notes == ("1 videos have an empty caption: kept (a)",)


def test_listing_names_ten() -> None:
    assert format_names(["a", "b"]) == "a, b"
    assert format_names([str(n) for n in range(13)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"
