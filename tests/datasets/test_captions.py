from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.annotations import pairs
from vopcli.datasets.captions import CaptionLine, captioned_ranges, match_captions, read_captions
from vopcli.datasets.records import Annotations, CaptionedVideo
from vopcli.errors import DataError, FileError
from vopcli.video.video_file import WHOLE, TimeWindow

KEYS = ["cat/one.mp4", "cat/two.mp4", "dog/one.mp4", "three.b.mkv", "three.mp4"]


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def line(video: object, caption: object, split: object = "train", **more: object) -> str:
    return json.dumps({"video": video, "caption": caption, "split": split, **more})


def match(folder: Path, *lines: str, keys: list[str] = KEYS) -> Annotations:
    return match_captions(read_captions(write(folder / "captions.jsonl", *lines)), keys)


def test_captions_of_a_video_stand_together(tmp_path: Path) -> None:
    annotations = match(
        tmp_path,
        line("cat/two.mp4", "a cat sleeps"),
        line("cat/one.mp4", "a cat jumps", "test"),
        line("three.mp4", "rain"),
        line("two", " a Cat  sleeps; \u4e2d\u6587 \u2028 still one line"),
        line("dog/one.mp4", "a dog", "my split"),
    )
    assert list(annotations.splits) == ["train", "test", "my split"]
    assert annotations.split("train").videos == (
        CaptionedVideo(
            "cat/two.mp4",
            ("a cat sleeps", " a Cat  sleeps; \u4e2d\u6587 \u2028 still one line"),
            file="cat/two.mp4",
        ),
        CaptionedVideo("three.mp4", ("rain",), file="three.mp4"),
    )
    assert pairs(annotations.split("my split")) == [("dog/one.mp4", "a dog")]
    assert annotations.notes == ()
    assert [report.notes for report in annotations.reports] == [(), (), ()]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("cat/one.mp4", "cat/one.mp4"),
        ("./cat//one.mp4", "cat/one.mp4"),
        ("cat/one", "cat/one.mp4"),
        ("two", "cat/two.mp4"),
        ("two.mp4", "cat/two.mp4"),
        ("three.b", "three.b.mkv"),
        ("three.b.mkv", "three.b.mkv"),
        ("three", "three.mp4"),
    ],
)
def test_ways_to_name_a_video(tmp_path: Path, name: str, key: str) -> None:
    assert pairs(match(tmp_path, line(name, "x")).split("train")) == [(key, "x")]


@pytest.mark.parametrize(
    "name", ["one.avi", "bird", "cat", "mp4", "cat/three", "ONE", "two.", "/cat/one.mp4"]
)
def test_names_that_fit_nothing(tmp_path: Path, name: str) -> None:
    annotations = match(tmp_path, line(name, "x"), line("two", "y"))
    report = annotations.split("train").report
    assert report.without_file == (name,)
    assert (report.num_listed, report.num_with_file, report.num_used) == (2, 1, 1)
    assert not report.is_complete


@pytest.mark.parametrize("name", ["one", "one.mp4"])
def test_an_ambiguous_name_names_both(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"line 2: '{name}' matches cat/one\.mp4 and dog/one\.mp4$"):
        match(tmp_path, line("two", "x"), line(name, "x"), line(name, "y"))


def test_accents_in_either_composition(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    found = match(tmp_path, line(composed, "x"), keys=[f"{apart}.mp4"]).split("train")
    assert pairs(found) == [(f"{apart}.mp4", "x")]
    both = [f"{apart}.mp4", f"{composed}.mp4"]
    assert pairs(match(tmp_path, line(composed, "x"), keys=both).split("train")) == [(both[1], "x")]


def test_names_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    key = b"caf\xe9.mp4".decode("utf-8", errors="surrogateescape")
    assert pairs(match(tmp_path, line(key, "x"), keys=[key]).split("train")) == [(key, "x")]


def test_csv_says_the_same_as_json_lines(tmp_path: Path) -> None:
    rows = [("cat/one.mp4", 'a "cat", big', "train"), ("two", "two\nlines", "test"), ("three", "x", "")]
    text = io.StringIO()
    csv.writer(text).writerows([("video", "caption", "split"), *rows])
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    lines = [line(video, caption, split) for video, caption, split in rows]
    by_csv = read_captions(tmp_path / "c.csv")
    by_json = read_captions(write(tmp_path / "c.jsonl", *lines))
    assert [(one.video, one.caption, one.split) for one in by_csv.lines] == [
        ("cat/one.mp4", 'a "cat", big', "train"),
        ("two", "two\nlines", "test"),
        ("three", "x", "train"),
    ]
    assert [one.line for one in by_csv.lines] == [2, 3, 5]
    assert [(one.video, one.caption, one.split) for one in by_json.lines] == [
        (one.video, one.caption, one.split) for one in by_csv.lines
    ]
    assert by_csv.notes == by_json.notes == ("1 of 3 lines have no split: 'train' is used",)


def test_columns_in_any_order_and_none_for_the_split(tmp_path: Path) -> None:
    captions = read_captions(
        write(tmp_path / "c.csv", "id,caption,video", "1,a cat,two", "", "2,a dog,three")
    )
    assert captions.lines == (
        CaptionLine(2, "two", "a cat", "train"),
        CaptionLine(4, "three", "a dog", "train"),
    )
    assert captions.notes == ("2 of 2 lines have no split: 'train' is used", "unused columns: 'id'")


def test_a_misspelt_column_is_said_to_be_unused(tmp_path: Path) -> None:
    captions = read_captions(write(tmp_path / "c", '{"video": "two", "caption": "x", "spilt": "test"}'))
    assert captions.notes == ("1 of 1 lines have no split: 'train' is used", "unused columns: 'spilt'")


def test_crlf_bom_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    text = f"{line('two', 'x')}\r\n\r\n  \r\n{line('three', 'y', None)}"
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_captions(tmp_path / "c.jsonl").lines == (
        CaptionLine(1, "two", "x", "train"),
        CaptionLine(4, "three", "y", "train"),
    )


@pytest.mark.parametrize("space", ["\u2028", "\x85", "\u2029"])
def test_what_ends_a_line_elsewhere_ends_none_here(tmp_path: Path, space: str) -> None:
    path = write(
        tmp_path / "c.jsonl", json.dumps({"video": "a", "caption": f"x{space}y"}, ensure_ascii=False)
    )
    assert read_captions(path).lines == (CaptionLine(1, "a", f"x{space}y", "train"),)


def test_a_very_long_line(tmp_path: Path) -> None:
    long = "word " * 400_000
    assert read_captions(write(tmp_path / "c.jsonl", line("two", long))).lines[0].caption == long
    write(tmp_path / "c.csv", "video,caption", f"two,{long}")
    with pytest.raises(DataError, match=r"c\.csv, line 2: field larger than field limit"):
        read_captions(tmp_path / "c.csv")


def test_repeated_lines_are_kept_and_told(tmp_path: Path) -> None:
    lines = [line("two", "x"), line("cat/two.mp4", "x"), line("two", "x", "test"), line("two", "y")]
    annotations = match(tmp_path, *lines)
    assert annotations.split("train").videos[0].captions == ("x", "x", "y")
    assert annotations.split("train").report.notes == (
        "1 lines repeat an earlier one: 2",
        "1 captions are duplicates of another of their video: kept",
    )
    assert annotations.split("test").report.notes == ("1 videos are in 'train' and in 'test': cat/two.mp4",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[1]", "must be an object with video and caption, not [1]"),
        ("7", "must be an object with video and caption, not 7"),
        ('{"video": "two", "video": "two", "caption": "x"}', "a name occurs twice"),
        ('{"caption": "x"}', "'video' is missing"),
        ('{"video": "two"}', "'caption' is missing"),
        ('{"video": 7, "caption": "x"}', "'video' must be text, not 7"),
        ('{"video": "two", "caption": null}', "'caption' must be text, not None"),
        ('{"video": "two", "caption": ["x"]}', "'caption' must be text, not ['x']: write one line for each"),
        ('{"video": "two", "caption": " \\t"}', "the caption is empty"),
        ('{"video": "", "caption": "x"}', "the video is empty"),
        ('{"video": "two", "caption": "x", "split": 1}', "'split' must be text, not 1"),
        ('{"video": "two", "caption": "x", "start": 1}', "'start' needs 'end'"),
        ('{"video": "two", "caption": "x", "start": "", "end": 3}', "'end' needs 'start'"),
        (
            '{"video": "two", "caption": "x", "start": 3, "end": 3.0}',
            "the start (3 s) must be before the end (3 s)",
        ),
        (
            '{"video": "two", "caption": "x", "start": -1, "end": 2}',
            "'start' must be a number of seconds from 0 on, not -1",
        ),
        (
            '{"video": "two", "caption": "x", "start": 0, "end": Infinity}',
            "'end' must be a number of seconds from 0 on, not inf",
        ),
        ('{"video": "two", "caption": "x", "start": NaN, "end": 1}', "'start' must be a number of seconds"),
        ('{"video": "two", "caption": "x", "start": false, "end": true}', "must be a number of seconds"),
        ('{"video": "two", "caption": "x", "start": "0:10", "end": "0:20"}', "from 0 on, not '0:10'"),
        ('{"video": "two", "caption": "x", "start": [1], "end": 2}', "must be a number of seconds"),
        (
            f'{{"video": "two", "caption": "x", "start": 0, "end": {"9" * 400}}}',
            "must be a number of seconds",
        ),
        ("[" * 100_000, "unsupported JSON"),
        ('{"video": ' + "1" * 5000 + "}", "unsupported JSON"),
    ],
)
def test_a_wrong_line_is_told_by_its_number(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "c.jsonl", line("two", "x"), "", text, line("three", "x"))
    with pytest.raises(DataError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert problem in str(caught.value)
    assert '"video": "cat/one.mp4"' in caught.value.hint


def test_all_wrong_lines_are_counted_and_ten_named(tmp_path: Path) -> None:
    lines = [line("two", "" if n % 2 else "x") for n in range(1, 51)]
    with pytest.raises(DataError, match=r"\(25 problems\), line 1: .*; line 19: .*empty; and 15 more$"):
        read_captions(write(tmp_path / "c.jsonl", *lines))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("c.jsonl", b"", "has no captions"),
        ("c.jsonl", b"\n\n", "has no captions"),
        ("c.csv", b"", "is empty"),
        ("c.csv", b"video,caption,split\n", "has no captions"),
        (
            "c.csv",
            b"video;caption\ntwo;x\n",
            "no column video or caption; its first line is 'video;caption'",
        ),
        ("c.csv", b"video,text\n", "no column caption; its first line is 'video,text'"),
        ("c.csv", b"video,caption,video\n", "has the column video twice"),
        (
            "c.csv",
            b"video,caption\ntwo,a, b\nthree,\n",
            "line 2: 3 fields where .*; line 3: the caption is empty",
        ),
        ("c.csv", b'video,caption\ntwo,"x" y\n', "line 2: ',' expected after '\"'"),
        ("c.csv", b'video,caption\ntwo,"x\n', "line 2: unexpected end of data"),
        (
            "c.jsonl",
            '{"video": "two"}\n{"caption": "caf\u00e9"}'.encode("latin-1"),
            "line 2: the byte 0xe9 is not",
        ),
        ("c.csv", "video,caption".encode("utf-16"), "is written in UTF-16"),
    ],
)
def test_a_file_that_is_refused(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=problem) as caught:
        read_captions(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.hint


def test_splits_that_are_no_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 101 splits, such as 's100'"):
        read_captions(write(tmp_path / "c.jsonl", *(line("two", "x", f"s{n}") for n in range(101))))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"c\.jsonl does not exist"):
        read_captions(tmp_path / "c.jsonl")


def test_captions_of_other_videos(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the frame store has none of the 2 videos of .*captions\.jsonl"
    ) as caught:
        match(tmp_path, line("videos/cat/one.mp4", "x"), line("videos/cat/two.mp4", "x"))
    assert caught.value.hint == "name videos as the store does, such as 'cat/one.mp4'"


def test_a_split_without_any_of_its_videos(tmp_path: Path) -> None:
    annotations = match(tmp_path, line("two", "x"), line("bird", "y", "test"))
    assert annotations.split("test").videos == ()
    assert annotations.split("test").report.found_ratio == 0


def test_times_in_json_lines_and_csv(tmp_path: Path) -> None:
    by_json = read_captions(
        write(
            tmp_path / "c.jsonl",
            line("two", "x", start=1, end=2.5),
            line("two", "y", start=None, end=None),
            line("two", "z"),
        )
    )
    by_csv = read_captions(
        write(tmp_path / "c.csv", "video,start,end,caption,split", "two,1,2.5,x,train", "two,,,y,train")
    )
    windows = [TimeWindow(1.0, 2.5), WHOLE, WHOLE]
    assert [one.window for one in by_json.lines] == windows
    assert [one.window for one in by_csv.lines] == windows[:2]
    assert by_json.has_ranges
    assert by_csv.has_ranges
    assert by_json.notes == by_csv.notes == ()


def test_a_range_with_captions_is_a_video_of_its_own(tmp_path: Path) -> None:
    captions = read_captions(
        write(
            tmp_path / "c.jsonl",
            line("two", "it sleeps", start=1, end=2.5),
            line("two", "a cat"),
            line("two", "it dreams", start=1.0, end=2.5),
            line("two", "it eats", start=2, end=9),
            line("two", "it goes", start=0, end=1),
            line("three", "rain", start=0, end=1),
            line("bird", "it sings", start=0, end=1),
        )
    )
    keys, held = ["cat/two.mp4", "three.mp4"], {"cat/two.mp4": [TimeWindow(1.0, 2.5), TimeWindow(2.0, 9.0)]}
    durations = {"cat/two.mp4": 4.0, "three.mp4": 4.0}
    annotations = match_captions(captions, keys, ranges=held, durations=durations)
    split = annotations.split("train")
    assert pairs(split) == [
        ("cat/two.mp4@1-2.5", "it sleeps"),
        ("cat/two.mp4@1-2.5", "it dreams"),
        ("cat/two.mp4", "a cat"),
        ("cat/two.mp4@2-9", "it eats"),
    ]
    assert split.queries().owners == (0, 0, 1, 2)
    assert [video.path for video in split.videos] == ["cat/two.mp4"] * 3
    report = split.report
    assert report.without_file == ("two@0-1", "three@0-1", "bird@0-1")
    assert (report.num_listed, report.num_with_file, report.num_captions, report.num_ranges) == (6, 3, 4, 5)
    assert report.notes == ("2 items are ranges of 1 videos, with frames of their own",)
    assert annotations.notes == ("1 lines end after their video: 4",)


def test_a_range_after_the_end_of_its_video(tmp_path: Path) -> None:
    captions = read_captions(write(tmp_path / "c.jsonl", line("two", "a"), line("two", "b", start=4, end=5)))
    with pytest.raises(DataError, match=r"c\.jsonl, line 2: two ends at 4 s, before 4 to 5 s$"):
        match_captions(captions, ["two.mp4"], durations={"two.mp4": 4.0})


def test_ranges_of_one_video_in_two_splits(tmp_path: Path) -> None:
    lines = [line("two", "a", start=0, end=1), line("two", "b", "test", start=1, end=2)]
    windows = [TimeWindow(0.0, 1.0), TimeWindow(1.0, 2.0)]
    captions = read_captions(write(tmp_path / "c.jsonl", *lines))
    found = match_captions(captions, ["two.mp4"], ranges={"two.mp4": windows})
    assert "1 videos are in 'train' and in 'test': two.mp4" in found.split("test").report.notes


def test_moment_queries_are_captions_with_ranges(tmp_path: Path) -> None:
    """Files in the forms of QVHighlights and ActivityNet are read as caption lines with start and end."""
    query = {"qid": 7, "query": "a cat jumps", "vid": "v_a_1.0", "duration": 60}
    lines = write(tmp_path / "q.jsonl", json.dumps(query | {"relevant_windows": [[0, 2], [30, 34], [5, 5]]}))
    entry = {"duration": 60, "timestamps": [[0, 2], [34, 30]], "sentences": ["a cat jumps"] * 2}
    document = write(tmp_path / "val_1.json", json.dumps({"v_a_1.0": entry}))
    times = [{"start": 0, "end": 2}, {"start": 30, "end": 34}]
    same = write(tmp_path / "same.jsonl", *(line("v_a_1.0", "a cat jumps", **time) for time in times))
    expected = match_captions(read_captions(same), ["x/v_a_1.0.mp4"]).split("train").videos
    for path in (lines, document):
        captions = read_captions(path)
        assert match_captions(captions, ["x/v_a_1.0.mp4"]).split("train").videos == expected
        assert captions.notes[0] == "2 ranges of moment queries are captions of the split 'train'"
    assert read_captions(lines).notes[1:] == ("1 of 3 ranges are empty and left out",)
    with pytest.raises(DataError, match=r"all ranges of .* are empty") as caught:
        read_captions(write(tmp_path / "e.jsonl", json.dumps(query | {"relevant_windows": [[5, 5]]})))
    assert "relevant_windows" in caught.value.hint


def test_ranges_to_extract(tmp_path: Path) -> None:
    captions = read_captions(
        write(
            tmp_path / "c.jsonl",
            line("two", "a", start=2, end=3),
            line("cat/two.mp4", "b", "test", start=0, end=5),
            line("two", "c", start=2, end=3),
            line("three.mp4", "whole"),
            line("one", "ambiguous, but whole"),
            line("bird", "d", start=2, end=3),
        )
    )
    ranges = {"cat/two.mp4": (TimeWindow(0.0, 5.0), TimeWindow(2.0, 3.0))}
    assert captioned_ranges(captions, KEYS) == (ranges, ["bird"])


TEXT = st.text(min_size=1, max_size=20).filter(str.strip)
ROWS = st.lists(
    st.tuples(st.sampled_from(KEYS), TEXT, st.sampled_from(["train", "val", "test"])), min_size=1, max_size=8
)


@given(rows=ROWS)
def test_json_lines_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "round.jsonl", *(line(*row) for row in rows))
    captions = read_captions(path)
    assert [(one.video, one.caption, one.split) for one in captions.lines] == rows
    annotations = match_captions(captions, KEYS)
    found = [(split, *pair) for split in annotations.splits for pair in pairs(annotations.split(split))]
    assert sorted(found) == sorted((split, video, caption) for video, caption, split in rows)


CSV_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20
).filter(str.strip)


@given(captions=st.lists(CSV_TEXT, min_size=1))
def test_csv_comes_back(tmp_path_factory: pytest.TempPathFactory, captions: list[str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("video", "caption"), *(("two", caption) for caption in captions)])
    path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_bytes(text.getvalue().encode())
    assert [one.caption for one in read_captions(path).lines] == captions
