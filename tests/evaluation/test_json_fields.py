"""Fields of JSON that a user may have edited: the value, or an error that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from vopcli.evaluation.json_fields import get_count, get_number, get_optional, get_text, get_texts


def test_fields_of_the_right_type_are_returned() -> None:
    document = {"name": "a", "names": ["a", "b"], "ratio": 0.5, "count": 3, "none": None}
    assert (get_text(document, "name"), get_texts(document, "names")) == ("a", ("a", "b"))
    assert (get_number(document, "ratio", high=1), get_number(document, "count")) == (0.5, 3)
    assert get_count(document, "count") == 3
    assert (get_optional(document, "none", get_count), get_optional(document, "count", get_count)) == (
        None,
        3,
    )


@pytest.mark.parametrize(
    ("get", "value", "problem"),
    [
        (get_text, 3, "x is 3, not text"),
        (get_texts, "ab", "x is 'ab', not a list of texts"),
        (get_texts, ["a", 1], "not a list of texts"),
        (get_number, True, "x is True, not a number"),
        (get_number, float("nan"), "x is nan, not a number from 0"),
        (get_number, -0.1, "x is -0.1, not a number from 0"),
        (get_number, 1 << 54, "not a number from 0 to 9007199254740992"),
        (get_count, 2.0, "x is 2.0, not an integer"),
        (get_count, "2", "x is '2', not a number"),
    ],
)
def test_others_are_named(get: Any, value: Any, problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        get({"x": value}, "x")


def test_a_missing_field_is_a_key_error_even_if_optional() -> None:
    with pytest.raises(KeyError, match="x"):
        get_optional({}, "x", get_text)
