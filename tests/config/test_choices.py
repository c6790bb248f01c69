"""Rules that are read from text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.config.choices import parse_pooling
from vopcli.errors import UsageError


@given(
    st.text(max_size=12) | st.sampled_from(["top-0", "top", "top-x", "attention:0", "attention:nan", "max:1"])
)
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    with contextlib.suppress(UsageError):
        parsed = parse_pooling(text)
        assert parse_pooling(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["", "top", "top-0", "top-x", "attention:0", "attention:nan", "attention:inf", "max:1"]
)
def test_the_error_says_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match="unknown pooling") as caught:
        parse_pooling(text)
    assert "top-K" in caught.value.hint
