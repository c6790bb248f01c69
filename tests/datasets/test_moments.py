"""Readers of moment retrieval queries: both published file formats, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vopcli.datasets.moments import MomentQuery, read_moment_queries
from vopcli.errors import DataError

LINE = {"qid": 9, "query": "a dog", "duration": 150, "vid": "x_60.0_210.0", "relevant_windows": [[82, 150]]}


def test_lines_of_qvhighlights(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    more = LINE | {"qid": "b", "saliency_scores": [[1]], "relevant_windows": [[0, 2], [9.5, 4]]}
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(more)}\n", encoding="utf-8")
    assert read_moment_queries(path) == [
        MomentQuery(9, "a dog", "x_60.0_210.0", 150.0, ((82.0, 150.0),)),
        MomentQuery("b", "a dog", "x_60.0_210.0", 150.0, ((0.0, 2.0), (4.0, 9.5))),
    ]


def test_videos_of_activitynet_captions(tmp_path: Path) -> None:
    path = tmp_path / "val_1.json"
    document = {
        "v_a": {"duration": 82.7, "timestamps": [[0.8, 19.9], [17.4, 60.8]], "sentences": ["One.", " Two."]},
        "v_b": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["Three."]},
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_moment_queries(path) == [
        MomentQuery(0, "One.", "v_a", 82.7, ((0.8, 19.9),)),
        MomentQuery(1, " Two.", "v_a", 82.7, ((17.4, 60.8),)),
        MomentQuery(2, "Three.", "v_b", 9.0, ((1.0, 2.0),)),
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"query": " "}, "qid, query or vid is missing"),
        ({"qid": None}, "qid, query or vid is missing"),
        ({"duration": 0}, "the duration 0 must be"),
        ({"duration": float("nan")}, "the duration nan must be"),
        ({"relevant_windows": []}, r"relevant_windows \[\] must be pairs"),
        ({"relevant_windows": [[1, "2"]]}, ".* must be pairs of start and end"),
        ({"relevant_windows": [[-1, 2]]}, ".* must be pairs of start and end"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    path = tmp_path / "val.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE | change)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"val.jsonl, line 2: {problem}"):
        read_moment_queries(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "must map each video"),
        ('{"v": 3}', "as many timestamps as sentences"),
        ('{"v": {"duration": 1, "timestamps": [], "sentences": ["a"]}}', "as many timestamps as sentences"),
        ('{"v": {"duration": -1, "timestamps": [[0, 1]], "sentences": ["a"]}}', "'v': the duration -1 must"),
        ("{}", "has no query"),
    ],
)
def test_an_object_that_cannot_be_used(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "val.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_moment_queries(path)
