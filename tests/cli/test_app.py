"""The border of the command line: help, versions, and errors as exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import vopcli
from tests.support.indexes import make_index
from vopcli.cli import app as border
from vopcli.errors import BusyError

RUNNER = CliRunner()


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vopcli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, vopcli.__version__)
    assert RUNNER.invoke(border.app, ["-V"]).stdout.strip() == vopcli.__version__


@pytest.mark.parametrize("words", [["-v", "methods"], ["methods", "--verbose"]])
def test_a_debug_log_names_the_settings_file(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    os.chdir(tmp_path / "below")
    (tmp_path / "vop.yaml").write_text("backbone: {weights: demo-tiny}")
    done = RUNNER.invoke(border.app, [*words, "--log-file", "a.log"])
    assert (done.exit_code, "settings file: ../vop.yaml" in done.stderr) == (0, True)
    assert "settings file: ../vop.yaml" in Path("a.log").read_text()
    assert RUNNER.invoke(border.app, ["methods"]).stderr == ""
    RUNNER.invoke(border.app, ["info", "gone.h5", "--log-file", "a.log"])
    assert "Error: gone.h5 does not exist" in Path("a.log").read_text()
    done = RUNNER.invoke(border.app, ["methods", "--log-file", "none/a.log"])
    assert (done.exit_code, "does not exist" in done.stderr) == (3, True)


def test_shells_get_a_completion() -> None:
    """The script of bash asks this program for the words that can follow."""
    # with a command behind it bash stays the parent, by which the shell is known
    assert "_VOP_COMPLETE" in shell("vopcli --show-completion; true").stdout
    asked = {"_VOP_COMPLETE": "complete_bash", "COMP_WORDS": "vop ext", "COMP_CWORD": "1"}
    done = RUNNER.invoke(border.app, [], env=asked, prog_name="vop")
    assert done.stdout.split() == ["extract-frames"]


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
        (["search", "x", "--top", "many"], "--top must be a whole number, not 'many'"),
    ],
)
def test_wrong_words_give_the_usage_line_and_a_hint(words: list[str], problem: str) -> None:
    done = RUNNER.invoke(border.app, words)
    assert done.exit_code == 2
    error, usage, hint = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert problem in error
    assert usage.startswith("Usage: vop")
    assert hint.startswith("Hint: ")


def run_failing(error: BaseException) -> Result:
    """Run a command that raises an error."""
    app = typer.Typer(cls=border.Commands)

    @app.callback(invoke_without_command=True)
    def fail() -> None:
        raise error

    return RUNNER.invoke(app, [])


def test_an_error_that_a_user_can_cause_ends_with_its_code() -> None:
    done = run_failing(BusyError("a\x1b[2J\nb.h5 is in use by another process", hint="wait"))
    assert done.exit_code == 3
    assert done.stderr.splitlines() == ["Error: a\\x1b[2J\\nb.h5 is in use by another process", "Hint: wait"]


@pytest.mark.parametrize("words", [("info",), ("report",), ("search", "a", "--index")])
def test_a_name_that_is_too_long_is_one_line(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(border.app, [*words, "x" * 300])
    assert done.exit_code == 3
    assert done.stderr.splitlines()[1:] == ["Hint: use a shorter name"]
    assert " has too long a name" in done.stderr


def test_ctrl_c_says_that_nothing_is_lost() -> None:
    done = run_failing(KeyboardInterrupt())
    assert done.exit_code == 130
    assert "Interrupted." in done.stderr


def test_a_bug_keeps_its_traceback() -> None:
    done = run_failing(ZeroDivisionError("a bug"))
    assert done.exit_code == 1
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "vopcli", "weights", "list"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


FULL = "Error: standard output cannot be written: the disk is full"
CLOSED = "Error: standard output is closed"


@pytest.mark.parametrize("words", ["--help", "--version", "config show --json", "info INDEX"])
@pytest.mark.parametrize(("redirection", "message"), [(">/dev/full", FULL), (">&-", CLOSED)])
def test_an_output_that_cannot_be_written_is_reported_once(
    tmp_path: Path, words: str, redirection: str, message: str
) -> None:
    make_index(tmp_path / "INDEX", ["a.mp4"])
    done = shell(f"vopcli {words} {redirection}", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == message
    assert len(done.stderr.splitlines()) == 2


def test_a_result_larger_than_the_buffer_is_not_lost_silently() -> None:
    code = "from vopcli.cli import console; console.open_streams(); console.print_line('x' * 1_000_000)"
    done = shell(f'-c "{code}" >/dev/full', module=False)
    assert done.returncode == 1
    assert "standard output cannot be written" in done.stderr


@pytest.mark.parametrize("words", ["--help", "config show --json"])
def test_a_closed_pipe_is_silent(words: str) -> None:
    done = shell(f"vopcli {words} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_note_that_cannot_be_printed_does_not_end_the_command(redirection: str) -> None:
    assert shell(f"vopcli info /nowhere {redirection}").returncode == 3
    assert shell(f"vopcli --version {redirection}").stdout.strip() == vopcli.__version__


def test_a_closed_input_is_empty(tmp_path: Path) -> None:
    make_index(tmp_path / "INDEX", ["a.mp4"])
    done = shell("vopcli search - --index INDEX <&-", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def shell(words: str, *, module: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a shell, with its redirections."""
    command = ["/bin/bash", "-c", f"{sys.executable} {'-m ' if module else ''}{words}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
