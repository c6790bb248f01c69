from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotations import write_activitynet, write_json, write_videos
from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.datasets.benchmarks.registry import (
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    read_dataset,
)
from vopcli.datasets.records import Annotations, CaptionedVideo
from vopcli.errors import DataError
from vopcli.video.video_file import TimeWindow

ACTIVITYNET = DatasetName.ACTIVITYNET

ENTRIES = {
    "v_LmNoPqRsTuV": (1.58, ["A man waves.", " He then\nwalks away."]),
    "v_AbCdEfGhIjK": (31.0, [" Zwei M\u00e4nner.", "They talk."]),
    "v_-.CdEfGhIjv_": (755.11, [" One sentence."]),
    "v_notlisted00": (9.0, ["Nobody lists this one."]),
}
IDS = ["v_AbCdEfGhIjK", "v_nocaptions0", "v_-.CdEfGhIjv_", "v_LmNoPqRsTuV"]


def read(root: Path) -> Annotations:
    return read_dataset(ACTIVITYNET, root, splits=["test"])


def test_paragraphs_in_the_order_of_the_ids(tmp_path: Path) -> None:
    write_activitynet(tmp_path, "test", IDS, ENTRIES)
    test = read(tmp_path).split("test")
    assert test.videos == (
        CaptionedVideo("AbCdEfGhIjK", (" Zwei M\u00e4nner. They talk.",), TimeWindow(0.0, 31.0)),
        CaptionedVideo("-.CdEfGhIjv_", (" One sentence.",), TimeWindow(0.0, 756.0)),
        CaptionedVideo("LmNoPqRsTuV", ("A man waves.  He then\nwalks away.",), TimeWindow(0.0, 2.0)),
    )
    report = test.report
    assert (report.num_listed, report.num_with_captions, report.num_used) == (4, 3, 3)
    assert report.without_captions == ("nocaptions0",)
    assert report.notes == ("1 videos of val_1.json are not in val_ids.json: notlisted00",)


def test_each_sentence_is_a_query_of_the_whole_video(tmp_path: Path) -> None:
    write_activitynet(tmp_path, "test", IDS, ENTRIES)
    test = read_dataset(ACTIVITYNET, tmp_path, splits=["test"], queries=QueryUnit.SENTENCES).split("test")
    assert test.videos == (
        CaptionedVideo("AbCdEfGhIjK", (" Zwei M\u00e4nner.", "They talk."), TimeWindow(0.0, 31.0)),
        CaptionedVideo("-.CdEfGhIjv_", (" One sentence.",), TimeWindow(0.0, 756.0)),
        CaptionedVideo("LmNoPqRsTuV", ("A man waves.", " He then\nwalks away."), TimeWindow(0.0, 2.0)),
    )
    assert test.queries().owners == (0, 0, 1, 2, 2)
    assert (test.report.num_used, test.report.num_captions) == (3, 5)
    assert test.report.other_size == "3 videos instead of 4,917"


@pytest.mark.parametrize(
    ("split", "num_listed", "num_without", "num_sentences"),
    [("train", 10_024, 15, 37_421), ("test", 4926, 9, 17_505)],
)
def test_published_sizes(
    tmp_path: Path, split: str, num_listed: int, num_without: int, num_sentences: int
) -> None:
    ids = [f"v_{n:011d}" for n in range(num_listed)]
    captioned = [video for n, video in enumerate(ids) if n % 547 or n // 547 >= num_without]
    sentences: dict[str, list[str]] = {video: [] for video in captioned}
    for n in range(num_sentences):
        sentences[captioned[n % len(captioned)]].append(f" sentence {n}")
    entries = {video: (30.5, sentences[video]) for video in reversed(captioned)}
    write_activitynet(tmp_path, split, ids, entries)
    report = read_dataset(ACTIVITYNET, tmp_path, splits=[split]).split(split).report
    assert (report.num_listed, len(report.without_captions)) == (num_listed, num_without)
    assert report.num_used == report.num_captions == {"train": 10_009, "test": 4917}[split]


def test_files_of_any_suffix_by_the_id_without_v(tmp_path: Path) -> None:
    write_activitynet(tmp_path, "test", IDS, ENTRIES)
    write_videos(tmp_path, ["v/AbCdEfGhIjK.mkv", "v/-.CdEfGhIjv_.webm", "v/v_LmNoPqRsTuV.mp4"])
    found = find_dataset_files(read(tmp_path), ACTIVITYNET, index_dataset_files(ACTIVITYNET, tmp_path))
    report = found.split("test").report
    assert found.windows() == {
        "v/AbCdEfGhIjK.mkv": TimeWindow(0.0, 31.0),
        "v/-.CdEfGhIjv_.webm": TimeWindow(0.0, 756.0),
        "v/v_LmNoPqRsTuV.mp4": TimeWindow(0.0, 2.0),
    }
    assert (report.num_with_file, report.num_used, report.without_file) == (3, 3, ())


def test_dgl_skips_a_broken_video(tmp_path: Path) -> None:
    entries = {**ENTRIES, "v_NHznDFD3V3k": (5.0, ["Broken."])}
    write_activitynet(tmp_path, "test", [*IDS, "v_NHznDFD3V3k"], entries)
    skipped = read_dataset(ACTIVITYNET, tmp_path, splits=["test"], skip_ids=get_skip_list(ACTIVITYNET, "dgl"))
    assert skipped.split("test").report.skipped == ("NHznDFD3V3k",)
    assert len(skipped.split("test").videos) == 3


@pytest.mark.parametrize(
    ("ids", "entries", "problem"),
    [
        ({}, {}, "val_ids.json: must be a list of ids"),
        ([7], {}, "val_ids.json: an id must begin with 'v_', unlike 7"),
        (["AbC"], {}, "val_ids.json: an id must begin with 'v_', unlike 'AbC'"),
        (["v_a"], [], "val_1.json: must map each id to its sentences"),
        (["v_a"], {"a": {}}, "val_1.json: an id must begin with 'v_', unlike 'a'"),
        (["v_a"], {"v_a": []}, "'v_a' must have a list of 'sentences', not None"),
        (["v_a"], {"v_a": {"sentences": [1]}}, "'v_a' must have a list of 'sentences'"),
        (["v_a"], {"v_a": {"sentences": ["x"]}}, "'v_a' must have a 'duration' in seconds, not None"),
        (["v_a"], {"v_a": {"sentences": ["x"], "duration": 0}}, "must have a 'duration' in seconds, not 0"),
        (["v_a"], {"v_a": {"sentences": ["x"], "duration": float("inf")}}, "'duration' in seconds, not inf"),
        (["v_a"], {"v_a": {"sentences": ["x"], "duration": 10**400}}, "'duration' in seconds, not 1000"),
        (["v_a"], {"v_a": {"sentences": ["x"], "duration": float("nan")}}, "'duration' in seconds, not nan"),
        (["v_a"], {"v_a": {"sentences": ["x"], "duration": True}}, "'duration' in seconds, not True"),
    ],
)
def test_wrong_shapes(tmp_path: Path, ids: object, entries: object, problem: str) -> None:
    write_json(tmp_path / "val_ids.json", ids)
    write_json(tmp_path / "val_1.json", entries)
    with pytest.raises(DataError, match=problem):
        read(tmp_path)
