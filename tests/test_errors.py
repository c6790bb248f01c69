"""Errors: exit codes, messages of the system, and values of any size."""

from __future__ import annotations

import errno
import os
import pickle

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
    for value in (bomb, "a\nb" * 10_000, {1: {2: {3: 4}}}, {"k" * 99: "v" * 99}, 10**5000, b"\x1b" * 9999):
        text = errors.format_value(value)
        assert len(text) <= 80
        assert text.isprintable()
    assert errors.format_value("VoP") == "'VoP'"
    assert errors.format_value({"a": [1, None]}) == "{'a': [1, None]}"


def test_names_are_shown_without_quotes() -> None:
    assert errors.format_name('films/one\'s "1".mp4') == 'films/one\'s "1".mp4'
    assert errors.format_name("a\x1b[2J\u202e") == r"a\x1b[2J\u202e"
    shown = errors.format_name("start" + "x" * 10**7 + "end.mp4")
    assert len(shown) <= 80
    assert shown.startswith("start")
    assert shown.endswith("end.mp4")


@pytest.mark.parametrize("kind", [errors.VopError, *errors.VopError.__subclasses__()])
def test_a_message_is_one_line_of_bounded_length(kind: type[errors.VopError]) -> None:
    error = kind("start \x1b[2J\n" + "x" * 10**6 + "end", hint="\u202e" + "y" * 10**6)
    for text in (str(error), error.hint):
        assert len(text) < 7000
        assert text.isprintable()
    assert str(error).startswith(r"start \x1b[2J\n")
    assert str(error).endswith("end")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  as between the processes that decode
    assert (str(again), again.hint) == (str(error), error.hint)


def test_the_reason_of_a_video_leaves_out_its_name() -> None:
    for path in ("a b.mp4", "a\n\x1b.mp4"):
        assert errors.VideoError(f"{path}: it has no frames").reason(path) == "it has no frames"
