"""What is drawn on a terminal."""

import io
import re

import pytest

from vopcli.cli import console


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def shown(terminal: Terminal) -> list[str]:
    """Return the lines without what makes letters bold."""
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


def test_a_table_on_a_narrow_terminal_breaks_headers_and_keeps_short_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    figures = [f"{way} {figure}" for way in ("t2v", "v2t") for figure in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    rows = [[name, "401920", *["100.0"] * 10] for name in ("zero-shot", "runs/P+F-seed0")]
    console.print_table(["model", "trained", *figures], rows)
    lines = shown(terminal)
    assert len(lines) == 4
    assert all(len(line) <= 100 for line in lines)
    assert [line.split() for line in lines[2:]] == rows
    assert lines[1].split()[:5] == ["model", "trained", "R@1", "R@5", "R@10"]


def test_a_long_path_is_broken_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    path = "a" * 60 + "/film.mp4"
    console.print_table(["score", "video"], [["0.567", path]])
    assert "".join(line.split()[-1] for line in shown(terminal)[1:]) == path
