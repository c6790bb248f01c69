"""The border of the command line: help, versions, and errors as exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vopcli
from vopcli.cli import app as border
from vopcli.errors import BusyError

RUNNER = CliRunner()


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vopcli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, vopcli.__version__)


@pytest.mark.parametrize(("words", "command"), [((), "extract-frames"), (("weights",), "convert")])
def test_without_a_command_the_help_is_shown_as_it_is(words: tuple[str, ...], command: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Usage: vop")
    assert any(line.strip().startswith(command) for line in lines)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_works_everywhere(flag: str) -> None:
    for words in ([], ["search"], ["weights"], ["weights", "get"]):
        done = RUNNER.invoke(border.app, [*words, flag])
        assert done.exit_code == 0
        assert done.stdout.startswith("Usage:")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["serach"], "No such command 'serach'. Did you mean 'search'?"),
        (["search", "--tpo", "3", "x"], "No such option: --tpo"),
        (["search"], "Missing argument"),
        (["search", "x", "--top", "many"], "Invalid value for '--top'"),
    ],
)
def test_wrong_words_give_one_line_and_a_hint(words: list[str], problem: str) -> None:
    done = RUNNER.invoke(border.app, words)
    assert done.exit_code == 2
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert problem in error
    assert "--help`" in hint


def test_an_error_that_a_user_can_cause_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise BusyError("a\x1b[2J\nb.h5 is in use by another process", hint="wait")

    monkeypatch.setattr("vopcli.cli.info.describe_file", busy)
    done = RUNNER.invoke(border.app, ["info", "x"])
    assert done.exit_code == 3
    assert done.stderr.splitlines() == ["Error: a\\x1b[2J\\nb.h5 is in use by another process", "Hint: wait"]


def test_ctrl_c_says_that_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vopcli.cli.info.describe_file", interrupted)
    done = RUNNER.invoke(border.app, ["info", "x"])
    assert done.exit_code == 130
    assert "Interrupted." in done.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("vopcli.cli.info.describe_file", broken)
    done = RUNNER.invoke(border.app, ["info", "x"])
    assert done.exit_code == 1
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "vopcli", "weights", "list"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")
