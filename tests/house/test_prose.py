"""Docstrings and help texts are in plain technical English."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.tools.generate import walk_commands
from vopcli.config.schema import Config

PACKAGE = Path(__file__).parents[2] / "vopcli"
ROOMS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix in {"", ".py"} and path.stem[0] != "_")
# A sentence with one of these words makes a reader translate: "what vanished", "made anew", "as was said".
BANNED = re.compile(r"\b(what|anew|said|vanish\w*)\b", re.IGNORECASE)


def first_lines(room: str) -> Iterator[str]:
    """The first line of every docstring of a room, with its place."""
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                line = (ast.get_docstring(node) or "").partition("\n")[0]
                yield f"{file.relative_to(PACKAGE)}: {line}"


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_use_plain_words(room: str) -> None:
    found = [line for line in first_lines(room) if BANNED.search(line.partition(": ")[2])]
    assert not found, "\n".join(found)


def test_help_texts_use_plain_words() -> None:
    texts = [
        text
        for _, command in walk_commands()
        for text in (command.help, *(item.help for item in command.params))
    ]
    texts += [
        item.metadata["help"]
        for part in dataclasses.fields(Config)
        for item in dataclasses.fields(part.default)
    ]
    found = sorted({text for text in texts if BANNED.search(text)})
    assert not found, "\n".join(found)
