"""Open a video at a time in a player."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, UsageError, format_value
from vopcli.files.s3 import local_copy
from vopcli.search.hits import Hit
from vopcli.search.template import check_template, fill_template

PLAYER_FIELDS: Final = ("file", "start", "end")
_SYSTEM: Final = "open" if sys.platform == "darwin" else "xdg-open"
_PLAYERS: Final = {  # in order of preference; the system's own starts at the beginning
    "mpv": "mpv --start={start} {file}",
    "vlc": "vlc --start-time={start} {file}",
    _SYSTEM: f"{_SYSTEM} {{file}}",
}


def player_command(player: str | None) -> list[str]:
    """Return the words of the command that opens a video, with fields.

    Args:
        player: a command with ``{file}``, and ``{start}`` and ``{end}`` in seconds; None: the first
            installed one of mpv, vlc and the system's player.

    Raises:
        UsageError: the command is malformed, or no player is installed.
    """
    template = player
    if template is None:
        template = next((command for name, command in _PLAYERS.items() if shutil.which(name)), None)
    if template is None:
        raise UsageError(
            f"no player is installed: none of {', '.join(_PLAYERS)}",
            hint="install one, or name a command in search.player, such as 'ffplay -ss {start} {file}'",
        )
    check_template(template, "search.player", allowed=PLAYER_FIELDS)
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise UsageError(
            f"search.player {format_value(template)} is malformed: {error}", hint="close the quotes"
        ) from None
    if "{file}" not in template or not words:
        raise UsageError(
            f"search.player {format_value(template)} lacks {{file}}", hint="write it like 'mpv {file}'"
        )
    return words


def play(words: list[str], hit: Hit) -> None:
    """Run a command of `player_command`, without a shell, and wait for its end.

    Raises:
        DataError: the command cannot be run, or failed, or the video is missing.
    """
    if hit.is_missing:
        raise DataError(f"{hit.file} does not exist", hint="has it been moved since it was encoded?")
    try:
        with local_copy(str(hit.file)) as file:
            command = [fill_template(word, replace(hit, file=Path(file))) for word in words]
            code = subprocess.run(command, check=False).returncode  # noqa: S603  (the user's own command)
    except OSError as error:
        raise DataError(f"{words[0]} cannot be run: {error.strerror}", hint="see search.player") from error
    if code:
        raise DataError(f"{words[0]} failed with exit code {code}", hint="see search.player")
