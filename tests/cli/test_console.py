"""What is drawn on a terminal."""

import contextlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vopcli.cli import console
from vopcli.cli.app import app


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


Draw = Callable[..., list[str]]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Draw a table on a terminal of the given width; return its lines without escape sequences."""

    def drawn(*table: Any, width: int, **options: Any) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        with contextlib.redirect_stdout(Terminal()) as terminal:
            console.print_table(*table, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()

    return drawn


def test_a_table_on_a_narrow_terminal_breaks_headers_and_keeps_short_cells(draw: Draw) -> None:
    figures = [f"{way} {figure}" for way in ("t2v", "v2t") for figure in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    rows = [[name, "401920", *["100.0"] * 10] for name in ("zero-shot", "runs/P+F-seed0")]
    lines = draw(["model", "trained", *figures], rows, width=100)
    assert len(lines) == 4
    assert all(len(line) <= 100 for line in lines)
    assert [line.split() for line in lines[2:]] == rows
    assert lines[1].split()[:5] == ["model", "trained", "R@1", "R@5", "R@10"]


def test_a_long_path_is_broken_and_not_cut(draw: Draw) -> None:
    path = "a" * 60 + "/film.mp4"
    lines = draw(["score", "video"], [["0.567", path]], width=40)
    assert "".join(line.split()[-1] for line in lines[1:]) == path


def parts_of(lines: Sequence[str]) -> list[list[str]]:
    """The tables between blank lines."""
    return [part.splitlines() for part in "\n".join(line.rstrip() for line in lines).split("\n\n")]


def test_columns_that_do_not_fit_form_another_table_below(draw: Draw) -> None:
    row = ["t2v", "P+F", "401,920", "31.5"]
    lines = draw(["way", "model", "trained", "R@1"], [row], num_keys=2, width=20)
    assert [[line.split() for line in part] for part in parts_of(lines)] == [
        [["way", "model", "trained"], ["t2v", "P+F", "401,920"]],
        [["way", "model", "R@1"], ["t2v", "P+F", "31.5"]],
    ]


def numbers(text: str) -> list[str]:
    return re.findall(r"(?<!\S)[^\sA-Za-z/]*\d[^\sA-Za-z/]*(?!\S)", text)


COMMANDS = """
train --dry-run --variant VoP --seeds 0,1
train --variant zero-shot --seeds 0,1
eval zero-shot
compare a.json b.json --show 3
report a.json b.json --published msrvtt-9k
rescore s.h5
encode out.h5 i.h5
search --index i.h5 thing
search --index i.h5 - --top 3
index ls i.h5
moments queries.jsonl --index i.h5
info i.h5
info out.h5
info s.h5
methods
weights list
weights show demo-tiny
data check
"""


WIDTHS = (40, 80, 120)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_cut(width: int, draw: Draw) -> None:
    columns = ["way", "method", "trained", "publ.", *["t2v R@1", "publ."] * 5, "a note"]
    note = f"{'a long note, ' * 3} of 151,277,313 and 31.25 %"
    row = ["t2v", "adapter-attn, published", "401,920", "0.40 M", *["43.1 ± 0.8", "100.0"] * 5, note]
    text = "\n".join(draw(columns, [row], num_keys=2, width=width))
    assert all(len(line) <= width for line in text.splitlines())
    for cell in row:
        assert set(numbers(cell)) <= set(numbers(text))
    assert text.count("43.1 ± 0.8") == 5


@pytest.mark.slow
def test_every_table_shows_each_number_whole(folder: Path, draw: Draw) -> None:
    """Each command's tables on terminals of three widths, against the numbers that the command passed."""
    run = CliRunner()
    for name, pooling in (("a", "mean"), ("b", "max")):
        measured = run.invoke(app, ["eval", "zero-shot", "--pooling", pooling, "--json"])
        (folder / f"{name}.json").write_text(measured.stdout)
    assert run.invoke(app, ["eval", "zero-shot", "--save-sims", "s.h5"]).exit_code == 0
    video = json.loads((folder / "captions.jsonl").read_text().partition("\n")[0])["video"]
    moment = {"qid": 1, "query": "a thing", "vid": Path(video).stem, "duration": 2.0}
    (folder / "queries.jsonl").write_text(json.dumps({**moment, "relevant_windows": [[0.0, 1.0]]}))
    tables: list[tuple[str, Any, dict[str, Any]]] = []
    for command in COMMANDS.strip().splitlines():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                console, "print_table", lambda *given, _of=command, **more: tables.append((_of, given, more))
            )
            done = run.invoke(app, command.split(), input="a thing\nanother thing of 3 colours\n")
        assert done.exit_code in {0, 4}, (command, done.stderr)
    assert {of for of, _, _ in tables} == {*COMMANDS.strip().splitlines()} - {"encode out.h5 i.h5"}
    for command, given, more in tables:
        for width in WIDTHS:
            text = "\n".join(draw(*given, **more, width=width))
            expected = Counter(number for row in given[1] for cell in row for number in numbers(cell))
            assert not expected - Counter(numbers(text)), (command, width, text)


def test_a_rate_is_shown_of_work_that_took_some_time(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [console.PlainTask(title, 3, "videos") for title in ("compare", "decode")]
    time.sleep(1.05)
    for task in (*tasks, console.PlainTask("encode", 3, "videos")):
        with task:
            task.advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert [lines[0], lines[2]] == ["compare: 3/3 videos", "encode: 3/3 videos"]
    assert re.fullmatch(r"decode: 3/3 videos, [1-2]\.\d videos/s", lines[1])
