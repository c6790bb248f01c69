from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotations import (
    LSMDC_FILES,
    UNBREAKABLE,
    lsmdc_id,
    lsmdc_line,
    pairs,
    write_list,
    write_lsmdc,
    write_videos,
)
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import (
    find_dataset_files,
    get_skip_list,
    index_dataset_files,
    read_dataset,
)
from vopcli.datasets.records import CaptionedVideo
from vopcli.errors import DataError

LSMDC = DatasetName.LSMDC
ONE, TWO, THREE = (lsmdc_id(f"9999_Some_Movie_{n}", n) for n in (1, 2, 3))


def write_raw(root: Path, *lines: bytes) -> None:
    (root / LSMDC_FILES["train"]).write_bytes(b"\n".join(lines))


def test_lines_of_a_clip_are_its_captions(tmp_path: Path) -> None:
    lines = [
        (ONE, 'SOMEONE says "hello.'),
        (TWO, " A space first, and a comma."),
        (ONE, "SOMEONE leaves."),
        (THREE, 'SOMEONE "smiles".'),
    ]
    write_lsmdc(tmp_path, "train", lines)
    train = read_dataset(LSMDC, tmp_path, splits=["train"]).split("train")
    assert train.videos == (
        CaptionedVideo(ONE, ('SOMEONE says "hello.', "SOMEONE leaves.")),
        CaptionedVideo(TWO, (" A space first, and a comma.",)),
        CaptionedVideo(THREE, ('SOMEONE "smiles".',)),
    )
    assert (train.report.num_listed, train.report.num_captions) == (3, 4)
    assert train.report.notes == (f"1 segments have several lines: {ONE}",)


def test_a_dictionary_by_clip_keeps_the_last_line(tmp_path: Path) -> None:
    write_lsmdc(tmp_path, "train", [(ONE, "first"), (TWO, "second"), (ONE, "third")])
    train = read_dataset(LSMDC, tmp_path, splits=["train"], last_caption_only=True).split("train")
    assert pairs(train) == [(ONE, "third"), (TWO, "second")]
    assert (train.report.num_used, train.report.num_captions) == (2, 2)


def test_the_challenge_has_1000_sentences_and_999_for_xpool(tmp_path: Path) -> None:
    clips = [lsmdc_id(f"{1000 + n % 17}_Movie_{n % 17}", n) for n in range(1000)]
    clips[108] = UNBREAKABLE
    sentences = [f"SOMEONE does {n}." for n in range(1000)]
    for first, second in ((0, 1), (2, 3), (4, 9), (5, 500), (6, 999)):
        sentences[second] = sentences[first]
    write_lsmdc(tmp_path, "test", zip(clips, sentences, strict=True))
    test = read_dataset(LSMDC, tmp_path, splits=["test"]).split("test")
    assert [(video.video, video.captions) for video in test.videos] == [
        (clip, (sentence,)) for clip, sentence in zip(clips, sentences, strict=True)
    ]
    assert test.report.notes == ("5 captions occur with more than one video",)
    assert len(set(test.queries().texts)) == 995

    skipped = read_dataset(
        LSMDC, tmp_path, splits=["test"], skip_ids=get_skip_list(LSMDC, "x-pool"), last_caption_only=True
    ).split("test")
    assert [video.video for video in skipped.videos] == clips[:108] + clips[109:]
    assert (skipped.report.num_listed, skipped.report.num_used) == (1000, 999)
    assert skipped.report.skipped == (UNBREAKABLE,)
    assert skipped.queries().owners == tuple(range(999))


def test_an_empty_sentence_is_told_by_its_line(tmp_path: Path) -> None:
    lines = [lsmdc_line(ONE, "a"), lsmdc_line(TWO, ""), lsmdc_line(THREE, " "), lsmdc_line(ONE, "a\tb"), "x"]
    write_list(tmp_path / LSMDC_FILES["train"], lines)
    with pytest.raises(
        DataError, match=r"training\.csv \(4 problems\), line 2: 5 fields instead of 6"
    ) as caught:
        read_dataset(LSMDC, tmp_path)
    for part in ("line 3: 5 fields", "the sentence is empty", "line 4: 7 fields", "line 5: 1 fields"):
        assert part in str(caught.value)


def test_of_many_wrong_lines_ten_are_told(tmp_path: Path) -> None:
    write_list(tmp_path / LSMDC_FILES["train"], ["a,b,c,d,e,f"] * 37)
    with pytest.raises(DataError, match=r"\(37 problems\), line 1: .*; line 10: .*; and 27 more$"):
        read_dataset(LSMDC, tmp_path)


def test_lines_of_another_encoding(tmp_path: Path) -> None:
    utf8, latin = lsmdc_line(ONE, "caf\u00e9").encode(), lsmdc_line(TWO, "caf\u00e9").encode("latin-1")
    write_raw(tmp_path, b"\xef\xbb\xbf" + utf8 + b"\r", latin, b"", lsmdc_line(THREE, "tea").encode())
    train = read_dataset(LSMDC, tmp_path, splits=["train"]).split("train")
    assert pairs(train) == [(ONE, "caf\u00e9"), (TWO, "caf\u00e9"), (THREE, "tea")]
    assert "1 lines are not UTF-8 and were read as Latin-1: 2" in train.report.notes


def test_a_stray_quote_before_an_id(tmp_path: Path) -> None:
    write_raw(tmp_path, lsmdc_line(ONE, "a").encode(), b'"' + lsmdc_line(TWO, 'He says "no.').encode())
    train = read_dataset(LSMDC, tmp_path, splits=["train"]).split("train")
    assert pairs(train) == [(ONE, "a"), (TWO, 'He says "no.')]
    assert train.report.notes == ("1 lines begin with a stray quote, which was removed: 2",)


def test_ids_of_another_form_are_noted(tmp_path: Path) -> None:
    write_raw(tmp_path, lsmdc_line(ONE, "a").encode(), b"clip7\t0\t1\t0\t1\tb")
    notes = read_dataset(LSMDC, tmp_path, splits=["train"]).split("train").report.notes
    assert notes == ("1 ids do not end in the times of a segment: clip7",)


def test_files_by_ids_with_dots(tmp_path: Path) -> None:
    write_lsmdc(tmp_path, "test", [(ONE, "a"), (TWO, "b"), (THREE, "c")])
    names = [
        f"videos/9999_Some_Movie_1/{ONE}.avi",
        f"videos/{TWO}.mp4",
        f"videos/{THREE.rpartition('.')[0]}.mp4",
    ]
    write_videos(tmp_path, names)
    found = find_dataset_files(
        read_dataset(LSMDC, tmp_path, splits=["test"]), LSMDC, index_dataset_files(LSMDC, tmp_path)
    ).split("test")
    assert [video.file for video in found.videos] == names[:2]
    assert found.report.without_file == (THREE,)
    assert found.report.found_ratio == 2 / 3


def test_the_misspelt_name_is_the_real_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"LSMDC16_challenge_1000_publictect\.csv is missing"):
        read_dataset(LSMDC, tmp_path, splits=["test"])
