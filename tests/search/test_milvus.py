"""An index in Milvus Lite answers as its HDF5 index, and keeps the same rows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.indexes import (
    NAMES,
    OTHER,
    QUERY,
    add_film,
    contents,
    encoded_video,
    make_index,
    new_videos,
    unit_rows,
)
from tests.support.models import write_model
from vopcli.cli.app import app
from vopcli.config.choices import Ann
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.progress import SilentProgress
from vopcli.search.filters import VideoFilter
from vopcli.search.hits import Hit
from vopcli.search.milvus_client import Milvus, pieces_of
from vopcli.search.query import Query
from vopcli.search.search import Index
from vopcli.search.stores import Copied, CopyRules, EngineIndex, Store, store_of
from vopcli.video.video_file import VideoFile
from vopcli.weights.reader import read_weights

RUNNER = CliRunner()
EQUAL = [
    "z.mp4",
    "y.mp4",
    "deep/x.mp4",
]  # of the same embeddings, in an order that is not that of their paths


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, [*arguments])


def stored(name: str) -> Store:
    store = store_of(Path(name))
    assert store is not None
    return store


def copy(source: Path, name: str, rules: CopyRules | None = None) -> Copied:
    return stored(name).write(VideoIndex(source), rules or CopyRules(), SilentProgress())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of videos, three of which are equal, and of a film with windows; with a bank, and its copy."""
    folder = tmp_path_factory.mktemp("milvus")
    weights = write_model(folder / "tiny.safetensors")
    meta = IndexMeta(str(weights), read_weights(weights).fingerprint(), {"sampling": "uniform:3"}, 40)
    create_index(folder / "i.h5", meta, {"adapter.up": unit_rows(3), "adapter.none": unit_rows(0)})
    make_index(folder / "i.h5", NAMES)
    add_film(folder / "i.h5", matching=2, windows=range(4), is_whole=True)
    with IndexWriter(folder / "i.h5") as writer:
        writer.lay_out(new_videos(EQUAL))
        writer.add([replace(encoded_video(7), slot=slot) for slot in range(3)])
        writer.note_failures([(VideoFile("/videos", "bad.mp4", 1, 1), "not a video")])
    with IndexWriter(folder / "i.h5") as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(600, seed=8), 15.0))
    copy(folder / "i.h5", f"milvus:{folder}/i.db")
    return folder


@pytest.fixture
def name(folder: Path) -> str:
    return f"milvus:{folder}/i.db"


def without_rows(hits: list[Hit], *, is_judged: bool = False) -> list[Hit]:
    """Hits without their row, and without the confidence that only an index in a file has unasked."""
    return [replace(hit, row=0, confidence=hit.confidence if is_judged else None) for hit in hits]


@pytest.mark.parametrize(
    "how",
    [
        {"top": 4},
        {"moments": True, "per_video": 2},
        {"pooling": "max"},
        {"norm": "qb", "top": 4, "where": VideoFilter("/VIDEOS/", shorter=3.5)},
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in (
                {"top": 1},
                {"top": 100},
                {"pooling": "mean"},
                {"dedupe": 0.999},
                {"min_score": 0.1},
                {"max_false": 0.5},
            )
        ),
    ],
    ids=str,
)
def test_hits_are_those_of_the_file(folder: Path, name: str, how: dict[str, object]) -> None:
    file, index = Index(folder / "i.h5"), Index(Path(name))
    queries = [QUERY, OTHER, *unit_rows(3, seed=5), encoded_video(7).embedding]
    queries += [] if "max_false" in how else [Query.parse("like:film.mp4@25", "0.5:like:z.mp4")]
    found = file.search(queries, **how)  # type: ignore[call-overload]
    assert any(found)
    compared = partial(without_rows, is_judged="max_false" in how)
    assert list(map(compared, index.search(queries, **how))) == list(map(compared, found))  # type: ignore[call-overload]


def test_equal_scores_are_ordered_by_path(name: str) -> None:
    hits = Index(Path(name)).search(encoded_video(7).embedding, top=2, pooling="mean")
    assert [hit.path for hit in hits] == sorted(EQUAL)[:2]
    assert hits[0].score == hits[1].score


@pytest.mark.slow
def test_the_first_of_many_equal_rows_is_found() -> None:
    """Milvus may return any of the equal rows; of windows of a video, the one that was added first counts."""
    names = [f"{number:02d}.mp4" for number in range(60)]
    make_index(Path("i.h5"), names[:1])
    with IndexWriter(Path("i.h5")) as writer:
        writer.lay_out(new_videos([*reversed(names[1:])]))
        writer.add([replace(encoded_video(0), slot=slot) for slot in range(59)])
    for film in ("p", "q", "r", "s"):
        add_film(Path("i.h5"), matching=0, windows=range(4), is_whole=True, seconds=600.0, name=film)
    copy(Path("i.h5"), "milvus:i.db")
    file, index = Index(Path("i.h5")), Index(Path("milvus:i.db"))
    found = index.search(encoded_video(0).embedding, top=2, pooling="mean")
    assert [hit.path for hit in found] == names[:2]
    found = index.search(OTHER, top=4, pooling="mean")
    assert without_rows(found) == without_rows(file.search(OTHER, top=4, pooling="mean"))
    windows = [index.videos.span_of(hit.row) for hit in found]
    assert list(zip((hit.path for hit in found), windows, strict=True)) == [
        (film, (600.0, 1200.0)) for film in "pqrs"
    ]


@pytest.mark.parametrize("output", [[], ["--json"], ["--paths"], ["--moments", "--per-video", "1"]], ids=str)
def test_output_of_a_search_is_the_same(folder: Path, name: str, output: list[str]) -> None:
    asked = ("search", "a dog", "--max-false", "1", "--index")
    found = [vop(*asked, index, *output) for index in (f"{folder}/i.h5", name)]
    assert found[0].exit_code == found[1].exit_code == 0
    assert found[0].stdout == found[1].stdout != ""


def test_listing_and_description(folder: Path, name: str) -> None:
    listed = [vop("index", "ls", index).stdout for index in (f"{folder}/i.h5", name)]
    assert listed[0] == listed[1] != ""
    described = [
        json.loads(vop("info", index, "--json", "--verify").stdout) for index in (f"{folder}/i.h5", name)
    ]
    shared = {
        "videos",
        "windows",
        "frames",
        "duration_seconds",
        "backbone",
        "recipe",
        "querybank",
        "problems",
    }
    assert {key: described[0][key] for key in shared} == {key: described[1][key] for key in shared}
    assert (described[1]["vector_index"], described[1]["is_complete"]) == ("flat", True)


def test_copying_back_gives_the_same_rows(folder: Path, name: str) -> None:
    assert vop("index", "copy", name, "back.h5").exit_code == 0
    assert contents(Path("back.h5")) == contents(folder / "i.h5")
    given, back = VideoIndex(folder / "i.h5"), VideoIndex(Path("back.h5"))
    assert [replace(back.video(row), row=0) for row in back.rows()] == [
        replace(given.video(row), row=0) for row in given.rows()
    ]
    assert back.meta == given.meta
    for tensors in ("text_tensors", "bank_tensors"):
        held, kept = getattr(given, tensors), getattr(back, tensors)
        assert held.keys() == kept.keys()
        assert all(held[key].tobytes() == kept[key].tobytes() for key in held)
    refused = vop("index", "copy", name, "back.h5")
    assert (refused.exit_code, refused.stderr.splitlines()[0]) == (3, "Error: back.h5 exists already")
    assert vop("index", "copy", name, "back.h5", "--overwrite").exit_code == 0


def test_a_copy_adds_what_is_new_and_replaces_what_has_changed() -> None:
    path, name = Path("i.h5"), "milvus:i.db"
    make_index(path, ["a.mp4", "b.mp4", "c.mp4"])
    assert copy(path, name) == Copied(3)
    make_index(path, ["b.mp4", "d.mp4"], seed=1)  # b.mp4 has changed
    assert copy(path, name) == Copied(1, 1, 2)
    assert copy(path, name) == Copied(0, 0, 4)
    with IndexWriter(path) as writer:
        writer.remove([writer.index.find([VideoFile("", "a.mp4", 0, 0)]).videos["a.mp4"].row])
    assert copy(path, name) == Copied(0, 0, 3)
    assert copy(path, name, CopyRules(prune=True)) == Copied(0, 0, 3, 1)
    assert vop("index", "copy", name, "back.h5").exit_code == 0
    assert contents(Path("back.h5")) == contents(path)
    server = stored(name).open()
    assert isinstance(server, EngineIndex)
    assert len(server) == len(list(server.rows())) == 3


@pytest.mark.slow
def test_windows_of_an_earlier_version_are_removed() -> None:
    path, name = Path("i.h5"), "milvus:i.db"
    make_index(path, ["a.mp4"])
    add_film(path, matching=0, windows=range(4), is_whole=True)
    copy(path, name)
    add_film(path, matching=1, windows=range(3), is_whole=True, mtime_ns=2, seconds=20.0)
    assert copy(path, name).num_removed > 0
    file, index = Index(path), Index(Path(name))
    assert without_rows(index.search(QUERY, moments=True)) == without_rows(file.search(QUERY, moments=True))
    assert len(list(index.videos.rows())) == len(list(file.videos.rows()))


@pytest.mark.slow
def test_another_model_is_refused(folder: Path) -> None:
    make_index(Path("i.h5"), ["a.mp4"])
    copy(Path("i.h5"), "milvus:i.db")
    with pytest.raises(DataError, match=r"i\.db is of another model or sampling than .*: backbone"):
        copy(folder / "i.h5", "milvus:i.db")
    assert copy(folder / "i.h5", "milvus:i.db", CopyRules(overwrite=True)).num_added == 13


@pytest.mark.slow
def test_an_unfinished_copy_is_reported_and_resumed(folder: Path) -> None:
    class Stop(SilentProgress):
        def advance(self, amount: int = 1) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored("milvus:i.db").write(VideoIndex(folder / "i.h5"), CopyRules(), Stop())
    result = vop("search", "a dog", "--index", "milvus:i.db")
    assert "milvus:i.db is not complete: run `vop encode` or `vop index copy` again" in result.stderr
    assert copy(folder / "i.h5", "milvus:i.db") == Copied(0, 0, 13)
    assert "complete" not in vop("search", "a dog", "--index", "milvus:i.db").stderr


@pytest.mark.slow
@pytest.mark.parametrize("ann", [Ann.HNSW, Ann.IVF])
def test_approximate_vector_indexes_report_their_recall(ann: Ann) -> None:
    make_index(Path("i.h5"), [f"{number}.mp4" for number in range(60)])
    source = "i.h5" if ann is Ann.HNSW else "milvus:i.db"  # IVF: of an index that has no file
    assert vop("index", "copy", "i.h5", "milvus:i.db").exit_code == 0
    server = Milvus(Path("milvus:i.db"))
    server.call("release_collection", server.collection)  # as a killed command with --ann leaves it
    server.call("drop_index", server.collection, "embedding")
    result = vop("index", "copy", source, "milvus:i.db", "--ann", ann.value)
    assert "recall of the 10 nearest rows: " in result.stderr
    assert float(result.stderr.rsplit(" ", 1)[1]) > 0.5
    assert json.loads(vop("info", "milvus:i.db", "--json").stdout)["vector_index"] == ann.value
    for _ in range(2):
        assert vop("index", "copy", "milvus:i.db", "milvus:i.db", "--ann", "flat").exit_code == 0
        assert json.loads(vop("info", "milvus:i.db", "--json").stdout)["vector_index"] == "flat"
        Milvus(Path("milvus:i.db")).describe({"ann": ann.value})  # as a command killed before the change


@pytest.mark.slow
def test_damage_is_one_line(folder: Path) -> None:
    copy(folder / "i.h5", "milvus:i.db")
    server = Milvus(Path("milvus:i.db"))
    index = Index(Path("milvus:i.db"))
    row = next(index.videos.rows())
    server.call("upsert", server.frames, data=pieces_of(row, bytes(3 * (8 + 2 * 40))))
    with pytest.raises(DataError, match=r"the frames of a\.mp4 do not match their checksum"):
        index.videos.frames_of(row)
    assert vop("info", "milvus:i.db", "--verify").exit_code == 3
    server.call("delete", server.frames, filter="id >= 0")
    server.call("delete", server.frames, filter="id < 0")
    with pytest.raises(
        DataError, match=r"milvus:i\.db is damaged: frames or tensors of the model are missing"
    ):
        Index(Path("milvus:i.db"))


def test_a_collection_of_another_program_is_kept(folder: Path) -> None:
    server = Milvus(Path("milvus:o.db"))
    server.call("create_collection", server.frames, dimension=4)
    with pytest.raises(
        DataError, match=r"o\.db needs the collection vop_frames, which belongs to another program"
    ):
        copy(folder / "i.h5", "milvus:o.db")
    assert server.call("has_collection", server.frames)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["serve", "milvus:i.db"], "vop serve needs an HDF5 index, not milvus:i.db"),
        (["index", "rm", "milvus:i.db", "a.mp4"], "vop index rm needs an HDF5 index, not milvus:i.db"),
        (["index", "copy", "i.h5", "j.h5"], "both indexes are files"),
        (["index", "copy", "milvus:i.db", "j.h5", "--ann", "flat"], "j.h5 is a file: it takes neither --ann"),
        (["info", "milvus:i.txt"], "milvus:i.txt is not the name of a Milvus index"),
        (["info", "milvus://localhost/i"], "milvus:/localhost/i is not the name of a Milvus index"),
    ],
    ids=str,
)
def test_wrong_uses_are_refused_by_name(arguments: list[str], problem: str) -> None:
    result = vop(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {problem}")
    assert len(result.stderr.splitlines()) == 2  # with the hint


@pytest.mark.parametrize("command", [["search", "a dog", "--index"], ["info"], ["index", "ls"]], ids=str)
def test_a_missing_index_is_not_created(command: list[str]) -> None:
    result = vop(*command, "milvus:no/i.db")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (3, "Error: milvus:no/i.db does not exist")
    assert not Path("no").exists()


ASKED = ["search", "a dog", "--index", "NAME"]


@pytest.mark.parametrize(
    ("command", "is_listening"),
    [
        (ASKED, False),
        pytest.param(ASKED, True, marks=pytest.mark.slow),
        (["info", "NAME"], False),
        (["index", "ls", "NAME"], False),
        (["index", "copy", "i.h5", "NAME"], False),
        (["index", "copy", "NAME", "i.h5", "--overwrite"], False),
        (["encode", ".", "NAME"], False),
        (["encode", ".", "NAME", "--overwrite"], False),
        (["encode", ".", "NAME", "--dry-run"], False),
        (["moments", "q.json", "--index", "NAME"], False),
    ],
    ids=str,
)
def test_a_server_that_does_not_answer_is_one_line(command: list[str], *, is_listening: bool) -> None:
    make_index(Path("i.h5"), ["a.mp4"])
    before = Path("i.h5").read_bytes()
    Path("q.json").write_text('{"a": {"duration": 9, "timestamps": [[0, 5]], "sentences": ["a dog"]}}')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"milvus://127.0.0.1:{listener.getsockname()[1]}/vop"
        if not is_listening:
            listener.close()
        import_module("vopcli.encoding.encode")  # which loads torch
        begin = time.monotonic()
        result = vop(*(word.replace("NAME", name) for word in command))
        assert time.monotonic() - begin < 5
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0].startswith(f"Error: {name}: Milvus reports: ")
    assert len(result.stderr.splitlines()) == 2
    assert Path("i.h5").read_bytes() == before


@pytest.mark.slow
def test_a_missing_package_is_one_line() -> None:
    code = """
import sys
sys.modules["pymilvus"] = None
sys.argv = ["vop", "info", "milvus:i.db"]
from vopcli.cli.app import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[0]) == (
        2,
        "Error: an index in Milvus needs pymilvus, which is not installed",
    )
    assert lines[1:] == ["Hint: run `pip install 'vopcli[milvus]'`"]
