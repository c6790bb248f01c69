"""Parameters of requests."""

import datetime
from dataclasses import fields

import pytest

from vopcli.errors import UsageError
from vopcli.search.filters import VideoFilter
from vopcli.web.question import PARAMETERS, Question, parse_frame, parse_question

ALL = {
    "q": "a dog", "minus": "night", "like": "0.17.3", "picture": "ab", "moments": "1", "folder": "deep",
    "longer": "1.5", "shorter": "60", "after": "2024-02-29", "before": "2025-01-01",
    "max_false": "0.05", "dedupe": "0.95", "top": "7",
}  # fmt: skip


def test_every_parameter_is_parsed_and_written_back() -> None:
    assert tuple(ALL) == PARAMETERS
    assert len(PARAMETERS) == len(fields(Question)) - 1 + len(fields(VideoFilter))
    question = parse_question(ALL, top=10)
    assert question == Question(
        "a dog", "night", (0, 17, 3), "ab", True,
        VideoFilter("deep", 1.5, 60.0, datetime.date(2024, 2, 29), datetime.date(2025, 1, 1)),
        0.05, 0.95, top=7,
    )  # fmt: skip
    assert question.to_dict() == ALL
    assert question.is_filtered


def test_empty_parameters_count_as_missing() -> None:
    question = parse_question(dict.fromkeys(ALL, " "), top=300)
    assert question == Question(top=200)
    assert question.is_empty
    assert not question.is_filtered
    assert parse_question({"moments": "0"}, top=1) == Question(top=1)


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2.3.4", "a.b.c", "-1.0.0", "1..2", "²." * 2 + "1", "9" * 20 + ".0.0"]
)
def test_a_wrong_frame_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a frame"):
        parse_frame(text)
