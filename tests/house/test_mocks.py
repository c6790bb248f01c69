"""Tests use real files, processes and hooks; few of them replace a function."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
MOST_LINES = 60


def test_few_lines_of_the_tests_mock() -> None:
    word = re.compile("monkeypatch|mock", re.IGNORECASE)
    sources = {
        path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py") if path != Path(__file__)
    }
    lines = [
        f"{path.relative_to(TESTS)}: {line.strip()}"
        for path, source in sources.items()
        for line in source.splitlines()
        if word.search(line)
    ]
    assert 0 < len(lines) <= MOST_LINES, "\n".join(lines)
