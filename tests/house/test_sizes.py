"""Files and functions stay small enough to be read at one go."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "vopcli").rglob("*.py"))
MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_FILE_LINES
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    # from the first statement on: the options of a command make its signature long
    lengths = {node.name: node.end_lineno - node.body[0].lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}


def test_the_sources_were_found() -> None:
    assert len(SOURCES) > 20
