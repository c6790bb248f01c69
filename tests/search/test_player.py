"""A player is run with the words of its command, whatever the file is called."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vopcli.errors import DataError, UsageError
from vopcli.search.hits import Hit
from vopcli.search.player import play, player_command

ODD_NAME = 'a "b" $(touch pwned) ; {x}.mp4'


@pytest.fixture
def hit(tmp_path: Path) -> Hit:
    file = tmp_path / ODD_NAME
    file.touch()
    return Hit(1, 0.3, file, ODD_NAME, 10.5, 14.25, 12.0, 20.0)


def recorder(folder: Path, code: int = 0) -> str:
    """A command that writes its arguments to ``said.json``."""
    script = folder / "player.py"
    said = folder / "said.json"
    script.write_text(
        f"import json, sys\njson.dump(sys.argv[1:], open({str(said)!r}, 'w'))\nsys.exit({code})"
    )
    return f"'{sys.executable}' '{script}'"


def test_fields_are_filled_after_the_words_are_split(tmp_path: Path, hit: Hit) -> None:
    command = recorder(tmp_path) + " --from={start} --to {end} {file} 'two words'"
    play(player_command(command), hit)
    said = json.loads((tmp_path / "said.json").read_text())
    assert said == ["--from=10.5", "--to", "14.25", str(hit.file), "two words"]
    assert not (tmp_path / "pwned").exists()


def test_the_first_installed_player_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no player is installed: none of mpv, vlc") as caught:
        player_command(None)
    assert "search.player" in caught.value.hint
    for name, start in (("vlc", "--start-time={start}"), ("mpv", "--start={start}")):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert player_command(None) == [name, start, "{file}"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("mpv", "lacks {file}"),
        ("", "lacks {file}"),
        ("mpv {path}", "unknown field {path}"),
        ("mpv {file.parent}", "unknown field"),
        ("mpv '{file}", "malformed"),
        ("mpv {file", "malformed"),
    ],
)
def test_a_wrong_command_is_refused(command: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        player_command(command)


def test_failures_name_the_player_or_the_file(tmp_path: Path, hit: Hit) -> None:
    with pytest.raises(DataError, match="no-such-player cannot be run: No such file"):
        play(player_command("no-such-player {file}"), hit)
    with pytest.raises(DataError, match="failed with exit code 7"):
        play(player_command(recorder(tmp_path, 7) + " {file}"), hit)
    hit.file.unlink()
    with pytest.raises(DataError, match="does not exist"):
        play(player_command("true {file}"), hit)
