"""Errors: exit codes, messages of the system, and values of any size."""

from __future__ import annotations

import errno
import os

import pytest

from vopcli import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.VopError, 1),
        (errors.UsageError, 2),
        (errors.ConfigError, 2),
        (errors.DataError, 3),
        (errors.WeightsError, 3),
        (errors.VideoError, 3),
        (errors.BusyError, 3),
        (errors.OutOfMemoryError, 3),
    ],
)
def test_exit_codes(kind: type[errors.VopError], code: int) -> None:
    error = kind("a.h5 is damaged", hint="copy it again")
    assert (str(error), error.hint, error.exit_code) == ("a.h5 is damaged", "copy it again", code)


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOENT, "a.h5 does not exist"),
        (errno.ENOSPC, "a.h5 cannot be written: the disk is full"),
        (errno.EIO, f"a.h5 cannot be used: {os.strerror(errno.EIO)}"),
    ],
)
def test_file_error_explains_the_reason(number: int, problem: str) -> None:
    error = errors.FileError("a.h5", OSError(number, os.strerror(number)))
    assert (str(error), error.exit_code) == (problem, 3)
    assert error.hint


def test_values_are_shown_in_one_bounded_line() -> None:
    bomb: list[object] = ["x"]
    for _ in range(60):
        bomb = [bomb] * 9
    for value in (bomb, "a\nb" * 10_000, {1: {2: {3: 4}}}):
        text = errors.format_value(value)
        assert len(text) < 300
        assert "\n" not in text
    assert errors.format_value("VoP") == "'VoP'"
