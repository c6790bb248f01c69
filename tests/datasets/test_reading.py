from __future__ import annotations

import json
from pathlib import Path

import pytest

from vopcli.datasets.reading import (
    Problems,
    ShapeError,
    decode_line,
    find_annotation_file,
    iter_lines,
    iter_table,
    parse_caption_map,
    read_ids,
    read_json,
    read_text,
    require_annotation_file,
)
from vopcli.errors import DataError, FileError


def test_files_of_the_root_go_before_those_of_its_annotations_folder(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("annotations/a.txt", "annotations/b.txt", "a.txt"):
        (tmp_path / name).touch()
    assert find_annotation_file(tmp_path, "a.txt") == tmp_path / "a.txt"
    assert find_annotation_file(tmp_path, "b.txt") == tmp_path / "annotations" / "b.txt"
    assert find_annotation_file(tmp_path, "annotations") is None
    assert require_annotation_file(tmp_path, "c.txt", "b.txt") == tmp_path / "annotations" / "b.txt"
    with pytest.raises(DataError, match=r"^c\.txt or d\.txt is missing"):
        require_annotation_file(tmp_path, "c.txt", "d.txt")


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\xef\xbb\xbf")
    assert read_text(path) == "caf\u00e9\ufeff"
    path.write_bytes(b"one\ntwo\ncaf\xe9")
    with pytest.raises(DataError, match=r"a\.txt, line 3: the byte 0xe9 is not UTF-8"):
        read_text(path)
    path.write_text("a", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        read_text(path)
    with pytest.raises(FileError, match=r"none\.txt"):
        read_text(tmp_path / "none.txt")


def test_only_line_feeds_end_lines() -> None:
    assert list(iter_lines("a\r\n\n \nb\x0bc\u2028d\n")) == [(1, "a"), (4, "b\x0bc\u2028d")]
    assert decode_line(b"\xef\xbb\xbfa", 1) == ("a", True)
    assert decode_line(b"\xef\xbb\xbfa", 2) == ("\ufeffa", True)
    assert decode_line(b"caf\xe9", 2) == ("caf\u00e9", False)


def test_ids_are_unique_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("b\n a \n\nb\n")
    assert read_ids(path) == (["b", "a"], ["list.txt has 1 duplicates: counted once"])
    path.write_text("\n")
    with pytest.raises(DataError, match="names no video"):
        read_ids(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": }', "is not JSON: Expecting value at line 1, column 7"),
        ("[" * 100_000, "is unsupported JSON"),
        ("9" * 5000, "is unsupported JSON"),
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_json(tmp_path / "a.json")


def test_captions_may_be_lists_of_words() -> None:
    document = json.loads('{"a": ["one two", ["three", "four"]], "b": []}')
    assert parse_caption_map(Path("x"), document) == {"a": ["one two", "three four"], "b": []}
    with pytest.raises(ShapeError, match="x: the captions of 'a' must be a list of texts, not 7"):
        parse_caption_map(Path("x"), {"a": 7})


def test_rows_of_a_table_have_the_number_of_their_first_line() -> None:
    problems = Problems(Path("t.csv"))
    text = 'b, a\n"1\n2",x\n\n3\n4,"y, z"\n'
    rows = list(iter_table(Path("t.csv"), text, ["a"], problems))
    assert rows == [(2, {"b": "1\n2", "a": "x"}), (6, {"b": "4", "a": "y, z"})]
    with pytest.raises(DataError, match=r"^t\.csv, line 5: 1 fields where the header has 2$"):
        problems.raise_any(hint="")
    for wrong, problem in (
        ("b\n", "has no column a"),
        ("a,a\n", "has the column a twice"),
        ("\n", "is empty"),
        ('a\n"', "line 2"),
    ):
        with pytest.raises(DataError, match=problem):
            list(iter_table(Path("t.csv"), wrong, ["a"], problems))
