"""``vop search`` as a user types it: every form of output, exit codes, pipes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.support.clip import tiny_clip
from tests.support.indexes import unit_rows
from tests.support.models import write_model
from vopcli.cli.app import app
from vopcli.encoding.query_bank import bank_tensors
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.hits import format_range, format_time
from vopcli.search.search import open_index
from vopcli.weights.reader import read_weights

WIDTH = tiny_clip().embed_dim
NAMES = ["plain.mp4", "tab\there.mp4", "new\nline.mp4", os.fsdecode(b"bytes-\xff.mp4"), "[red]ü[/red].mp4"]
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return path, read_weights(path).fingerprint()


@pytest.fixture
def folder(tmp_path: Path, model: tuple[Path, str]) -> Path:
    """The current folder, with an index ``idx.h5`` of five videos below it and one elsewhere."""
    weights, fingerprint = model
    here = tmp_path / "here"
    here.mkdir()
    os.chdir(here)
    create_index(here / "idx.h5", IndexMeta(str(weights), fingerprint, {"sampling": "uniform:2"}, WIDTH))
    videos = [NewVideo(str(here / "videos"), name, 1, 2, num_frames=2) for name in NAMES]
    videos.append(NewVideo("/elsewhere", "far.mp4", 1, 2, num_frames=2))
    with IndexWriter(here / "idx.h5") as writer:
        writer.lay_out(videos)
        rows = unit_rows(len(videos), width=WIDTH)
        frames = [row[None].repeat(2, 0).astype(np.float16) for row in rows]
        writer.add(
            [EncodedVideo(i, row, frames[i], np.array([62.44, 70.0]), 2, 80.0) for i, row in enumerate(rows)]
        )
    return here


def vop(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Result:
    return RUNNER.invoke(app, ["search", *arguments], input=stdin, env=env)


def in_process(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vopcli", "search", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False)


def shown(folder: Path) -> list[str]:
    """The files in order, as they can be opened from the current folder."""
    hits = open_index(folder / "idx.h5").search("a dog")
    return [os.fspath(hit.file).removeprefix(f"{folder}/") for hit in hits]


def test_tab_separated_values(folder: Path) -> None:
    result = vop("a dog", "--index", "idx.h5")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    hits = open_index(folder / "idx.h5").search("a dog")
    assert [row[0] for row in rows] == [f"{hit.score:.6f}" for hit in hits]
    assert [row[1] for row in rows] == [format_range(hit) for hit in hits]
    assert {format_time(hit.best) for hit in hits} == {"01:02.4"}
    escaped = {
        "videos/plain.mp4",
        "videos/tab\\there.mp4",
        "videos/new\\nline.mp4",
        "videos/bytes-\\xff.mp4",
        "videos/[red]ü[/red].mp4",
        "/elsewhere/far.mp4",
    }
    assert {row[2] for row in rows} == escaped
    (line,) = result.stderr.splitlines()
    assert set(line.removeprefix("missing files: ").split(", ")) == escaped


def test_paths_are_the_bytes_of_the_names(folder: Path) -> None:
    expected = [os.fsencode(name) for name in shown(folder)]
    done = in_process(folder, "a dog", "--index", "idx.h5", "-0")
    assert done.stdout.split(b"\0") == [*expected, b""]
    done = in_process(folder, "a dog", "--index", "idx.h5", "--paths", "--top", "2")
    assert done.stdout == b"".join(name + b"\n" for name in expected[:2])


def test_json(folder: Path) -> None:
    result = vop("a dog", "--index", "idx.h5", "--json", "--top", "4")
    document = json.loads(result.stdout)
    hits = open_index(folder / "idx.h5").search("a dog", top=4)
    assert document["query"] == "a dog"
    assert [hit["rank"] for hit in document["hits"]] == [1, 2, 3, 4]
    for found, hit in zip(document["hits"], hits, strict=True):
        assert (found["score"], found["best"]) == (hit.score, 62.44)
        assert (found["start"], found["end"]) == (hit.start, hit.end)
        assert (found["path"], found["file"]) == (hit.path, os.fspath(hit.file))
        assert found["missing"]
    (folder / "videos").mkdir()
    (folder / "videos" / "plain.mp4").touch()
    documents = json.loads(vop("a dog", "--index", "idx.h5", "--json").stdout)["hits"]
    assert {hit["path"]: hit["missing"] for hit in documents}["plain.mp4"] is False
    assert sum(hit["missing"] for hit in documents) == 5
    said = vop("a dog", "--index", "idx.h5").stderr
    assert said.startswith("missing files: ")
    assert "plain.mp4" not in said
    assert said.count(",") == 4


def test_another_pooling_scores_the_frames(folder: Path) -> None:
    plain, pooled = (
        json.loads(vop("a dog", "--index", "idx.h5", "--json", *more).stdout)["hits"]
        for more in ([], ["--pooling", "top-2"])
    )
    assert [hit["path"] for hit in pooled] == [hit["path"] for hit in plain]  # both frames are the video
    assert [hit["score"] for hit in pooled] == pytest.approx([hit["score"] for hit in plain], abs=1e-3)
    refused = vop("a dog", "--index", "idx.h5", "--pooling", "median")
    assert (refused.exit_code, "unknown pooling 'median'" in refused.stderr) == (2, True)


def test_many_queries(folder: Path) -> None:
    lines = "a dog\n\n  \na cat\r\n"
    result = vop("-", "--index", "idx.h5", "--jsonl", stdin=lines)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["query"] for document in documents] == ["a dog", "a cat"]
    whole = json.loads(vop("-", "--index", "idx.h5", "--json", stdin=lines).stdout)
    assert whole == documents
    single = json.loads(vop("a cat", "--index", "idx.h5", "--json").stdout)
    assert single == documents[1]
    rows = [
        line.split("\t")
        for line in vop("-", "--index", "idx.h5", "--top", "2", stdin=lines).stdout.splitlines()
    ]
    assert [row[0] for row in rows] == ["a dog", "a dog", "a cat", "a cat"]
    assert all(len(row) == 4 for row in rows)
    assert vop("-", "--index", "idx.h5", stdin="").stdout == ""
    assert json.loads(vop("-", "--index", "idx.h5", "--json", stdin="").stdout) == []


def test_queries_are_answered_as_they_come(folder: Path) -> None:
    command = [sys.executable, "-m", "vopcli", "search", "-", "--index", "idx.h5", "--top", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        for query in ("a dog", "a cat"):  # the second is sent when the first has been answered
            child.stdin.write(query + "\n")
            child.stdin.flush()
            assert child.stdout.readline().startswith(query + "\t")
        child.stdin.close()
        assert child.wait(30) == 0


def test_queries_of_odd_bytes(folder: Path) -> None:
    done = in_process(
        folder, "-", "--index", "idx.h5", "--jsonl", stdin="\ufeffein Über\n".encode() + b"b\xffd\nlast"
    )
    assert done.returncode == 0
    assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == [
        "ein Über",
        "b\ufffdd",
        "last",
    ]
    done = in_process(folder, os.fsdecode(b"b\xffd \xf0\x9f\xa5\x8a"), "--index", "idx.h5", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["hits"]) == 6


def test_long_queries_are_cut_and_it_is_said_once(folder: Path) -> None:
    result = vop("-", "--index", "idx.h5", stdin=("word " * 10_000 + "\n") * 2)
    assert result.exit_code == 0
    assert result.stderr.count("longer than 77 tokens") == 1
    assert vop("word " * 10_000, "--index", "idx.h5").stdout == vop("word " * 75, "--index", "idx.h5").stdout


def test_nothing_good_enough(folder: Path) -> None:
    result = vop("a dog", "--index", "idx.h5", "--min-score", "0.99")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "no hit has a score of 0.99 or more" in result.stderr
    assert vop("a dog", "--index", "idx.h5", "--min-score", "-1").exit_code == 0
    result = vop("a dog", "--index", "idx.h5", "--min-score", "nan")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        2,
        "Error: --min-score must be a finite number, not nan",
    )
    result = vop("a dog", "--index", "idx.h5", "--min-score", "0.99", "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["hits"] == []


def test_nothing_confident_enough(folder: Path) -> None:
    assert "confidence" not in vop("a dog", "--index", "idx.h5", "--json").stdout
    missing = vop("a dog", "--index", "idx.h5", "--max-false", "0.05")
    assert (
        missing.exit_code,
        "has 0 captions in its query bank, too few for a confidence" in missing.stderr,
    ) == (3, True)
    with IndexWriter(folder / "idx.h5") as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(600, seed=3), 20.0))
    lines = vop("a dog", "--index", "idx.h5").stdout.splitlines()
    hits = json.loads(vop("a dog", "--index", "idx.h5", "--json").stdout)["hits"]
    assert [line.split("\t")[1] for line in lines] == [f"{hit['confidence']:.3f}" for hit in hits]
    result = vop("a dog", "--index", "idx.h5", "--max-false", "0")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "no hit has a confidence of 1 or more" in result.stderr


def test_where_the_index_is_named(folder: Path) -> None:
    expected = vop("a dog", "--index", "idx.h5").stdout
    (folder / "none").mkdir()
    os.chdir(folder / "none")
    result = vop("a dog")
    assert result.exit_code == 2
    assert "no index is named" in result.stderr
    assert "VOP_INDEX" in result.stderr
    os.chdir(folder)
    result = vop("a dog")  # the only index here
    assert (result.stdout, result.stderr.splitlines()[0]) == (expected, "Index: idx.h5")
    create_index(folder / "b.h5", IndexMeta("none", "0" * 64, {}, WIDTH))
    result = vop("a dog")
    assert (result.exit_code, "several indexes here: b.h5, idx.h5" in result.stderr) == (2, True)
    (folder / "vop.yaml").write_text("search: {index: idx.h5}\n")
    assert vop("a dog").stdout == expected
    environment = {"VOP_INDEX": "none.h5"}
    assert vop("a dog", env=environment).exit_code == 3
    assert vop("a dog", "--index", "idx.h5", env=environment).stdout == expected


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["", "--index", "idx.h5"], 2, "the query is empty"),
        (["  ", "--index", "idx.h5"], 2, "the query is empty"),
        (["a", "--index", "none.h5"], 3, "none.h5 does not exist"),
        (["a", "--index", "vop.txt"], 3, "vop.txt is not an HDF5 file"),
        (["a", "--index", "idx.h5", "--top", "0"], 2, "--top must be from 1"),
        (["a", "--index", "idx.h5", "--json", "--paths"], 2, "exclude each other"),
        (["a", "--index", "idx.h5", "--weights", "none.pt"], 3, "none.pt"),
    ],
)
def test_errors_are_two_lines_without_traceback(
    folder: Path, arguments: list[str], code: int, said: str
) -> None:
    (folder / "vop.txt").write_text("no index")
    result = vop(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Error: ")
    assert lines[1].startswith("Hint: ")


def test_index_in_use_and_empty_index(folder: Path) -> None:
    with IndexWriter(folder / "idx.h5"):
        done = in_process(folder, "a dog", "--index", "idx.h5")
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)  # the files are missing
    create_index(folder / "empty.h5", IndexMeta("none", "0" * 64, {}, WIDTH))
    result = vop("a dog", "--index", "empty.h5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "has no videos" in result.stderr


def test_reader_that_has_seen_enough(folder: Path) -> None:
    queries = "a dog\n" * 300
    command = f"{sys.executable} -m vopcli search - --index idx.h5 | head -n 1"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        input=queries,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Error" not in done.stderr
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1


def test_table_on_a_terminal(folder: Path) -> None:
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "vopcli", "search", "a dog", "--index", "idx.h5"]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb"}
    subprocess.run(command, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    text = os.read(reader, 1 << 16).decode()
    os.close(reader)
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["score", "range", "video"]
    assert len(lines) == 7
    ranges = {format_range(hit) for hit in open_index(folder / "idx.h5").search("a dog")}
    assert {line[1] for line in lines[1:]} == ranges
    assert "videos/[red]ü[/red].mp4" in [line[2] for line in lines]
    assert "videos/new\\nline.mp4" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "00:00.0"), (12.4, "00:12.4"), (59.96, "01:00.0"), (3599.99, "1:00:00.0"), (-0.01, "00:00.0")],
)
def test_time(seconds: float, said: str) -> None:
    assert format_time(seconds) == said


def test_neither_help_nor_search_loads_torch(folder: Path) -> None:
    vop("a dog", "--index", "idx.h5")
    for arguments in (["--help"], ["search", "--help"], ["search", "a dog", "--index", "idx.h5"]):
        code = (
            "import sys; from vopcli.cli.app import app; sys.argv = ['vop', *sys.argv[1:]]\n"
            "try: app()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert not {'torch', 'cv2', 'av', 'transformers'} & sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
