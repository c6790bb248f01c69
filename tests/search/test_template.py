"""Templates filled with the values of hits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vopcli.errors import UsageError
from vopcli.search.hits import Hit
from vopcli.search.template import check_template, fill_template

HIT = Hit(3, 0.123456789, Path("/videos/a b.mp4"), "a b.mp4", 10.48000001, 14.4, 12.48, 20.0)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{file}#t={start},{end}", "/videos/a b.mp4#t=10.48,14.4"),
        ("{rank:02} {score} {score:.2f}", "03 0.123457 0.12"),
        ("{{{path}}} {best:>8.1f}", "{a b.mp4}     12.5"),
        ("", ""),
    ],
)
def test_a_template_gets_the_values(template: str, expected: str) -> None:
    check_template(template, "--format")
    assert fill_template(template, HIT) == expected


def test_a_file_name_keeps_its_bytes() -> None:
    name = Path(os.fsdecode(b"/videos/\xff.mp4"))
    hit = Hit(1, 0.0, name, "x", 0.0, 1.0, 0.5, 1.0)
    assert os.fsencode(fill_template("{file}", hit)) == b"/videos/\xff.mp4"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{name}", "unknown field {name}"),
        ("{file.parent}", r"unknown field {file\.parent}"),
        ("{file.__class__}", "unknown field"),
        ("{path[0]}", "unknown field"),
        ("{}", "unknown field {}"),
        ("{0}", "unknown field {0}"),
        ("{score:{rank}}", "unknown field"),
        ("{score!r}", "unknown field"),
        ("{file", "malformed"),
        ("}", "malformed"),
        ("{path:.2f}", "malformed"),
    ],
)
def test_other_fields_are_refused(template: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_template(template, "--format")
    assert "{start}" in caught.value.hint
