"""``vop encode --querybank`` and ``vop search --norm qb``, against plain loops."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.support.indexes import rewrite_index
from tests.support.training import FRAMES, SIDE, make_captioned_folder
from vopcli.cli.app import app
from vopcli.encoding.query_bank import bank_tensors
from vopcli.errors import DataError
from vopcli.files.hdf5_writer import SegmentWriter
from vopcli.index.reader import BANK as BANK_PREFIX
from vopcli.index.reader import INDEX_FORMAT, REPLACED, VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo
from vopcli.search.query_bank import StoredBank, current_bank, read_bank, search_normalised
from vopcli.search.search import open_index

BANK = [f"number {i}, a {'red' if i % 2 else 'blue'} thing" for i in range(5)]
BETA = 5.0
QUERIES = [
    "number 3",
    "that moves",
    "a dog on a beach",
    *BANK[:2],  # gated: their best video is the best of a caption of the bank
]


def run(*command: str) -> Result:
    return CliRunner().invoke(app, list(command))


@pytest.fixture
def folder(training_store: Path, tmp_path: Path) -> Path:
    make_captioned_folder(tmp_path, training_store)
    (tmp_path / "bank.txt").write_text("\n\n".join(BANK) + "\n", encoding="utf-8")
    done = run("encode", "out.h5", "i.h5", "--querybank", "bank.txt", "--beta", str(BETA))
    assert done.exit_code == 0, done.stderr
    return tmp_path


def store_bank(path: Path, captions: np.ndarray, beta: float) -> None:
    with IndexWriter(path) as writer:
        index = writer.current()
        rows = list(index.rows())
        writer.rewrite(rows, bank_tensors(index, rows, captions, beta))


def stored_bank(path: Path) -> StoredBank:
    bank = read_bank(VideoIndex(path))
    assert bank is not None
    return bank


def expect(path: Path, query: str) -> list[tuple[str, float]]:
    """QB-Norm's formula over the videos of an index: in logarithms, divided by beta."""
    index = VideoIndex(path)
    texts = open_index(path).encode([query, *BANK]).astype(np.float64)
    videos = {video.path: index.embedding_of(video.row).astype(np.float64) for video in index.videos()}
    of_bank = [{name: float(text @ video) for name, video in videos.items()} for text in texts[1:]]
    activated = {max(row, key=row.__getitem__) for row in of_bank}
    scores = {name: float(texts[0] @ video) for name, video in videos.items()}
    if max(scores, key=scores.__getitem__) in activated:
        for name in scores:
            normaliser = math.fsum(math.exp(BETA * row[name]) for row in of_bank)
            scores[name] = math.log(math.exp(BETA * scores[name]) / normaliser) / BETA
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def check(path: Path) -> None:
    shifted = 0
    for query in QUERIES:
        done = run("search", query, "--index", str(path), "--norm", "qb", "--json")
        assert done.exit_code == 0, done.stderr
        hits = json.loads(done.stdout)["hits"]
        expected = expect(path, query)[:10]
        assert [hit["path"] for hit in hits] == [name for name, _ in expected]
        assert json.loads(done.stdout)["norm"] == "qb"
        np.testing.assert_allclose(
            [hit["score"] for hit in hits], [score for _, score in expected], atol=1e-5
        )
        best = open_index(path).search(query, top=1)[0].score
        shifted += abs(max(hit["score"] for hit in hits) - best) > 1e-3
    assert 2 <= shifted < len(QUERIES)  # some queries pass the gate, some do not


def test_a_search_ranks_by_the_formula(folder: Path) -> None:
    check(folder / "i.h5")
    bank = json.loads(run("info", "i.h5", "--json").stdout)["querybank"]
    assert (bank["captions"], bank["beta"], bank["is_stale"]) == (5, BETA, False)
    assert run("info", "i.h5", "--verify").exit_code == 0
    plain = run("search", "blue", "--index", "i.h5", "--json")
    run("encode", "out.h5", "plain.h5")
    assert json.loads(plain.stdout) == json.loads(
        run("search", "blue", "--index", "plain.h5", "--json").stdout
    )


def test_the_bank_stays_that_of_the_videos_there_are(folder: Path) -> None:
    names = sorted(video.path for video in VideoIndex(folder / "i.h5").videos())
    before = read_bank(VideoIndex(folder / "i.h5"))
    assert before is not None
    segment = VideoIndex(folder / "i.h5").segments[0]
    with SegmentWriter(folder / "i.h5", INDEX_FORMAT) as writer:  # as a run that was killed leaves it
        writer.write(segment, "status", 1, np.array([REPLACED], np.uint8))
    refused = run("search", "blue", "--index", "i.h5", "--norm", "qb")
    assert refused.exit_code == 3
    assert "is outdated: videos were added or removed" in refused.stderr
    done = run("encode", "out.h5", "i.h5")
    assert done.exit_code == 0, done.stderr
    index = VideoIndex(folder / "i.h5")
    after = read_bank(index)
    assert after is not None
    assert not after.is_stale
    assert len(after.bank.column) == len(index) == len(names)
    np.testing.assert_array_equal(after.captions, before.captions)
    check(folder / "i.h5")


def test_a_changed_video_is_seen_though_as_many_are_left(folder: Path) -> None:
    path = folder / "i.h5"
    index = VideoIndex(path)
    first, *others = index.videos()
    frames, seconds = index.frames_of(others[-1].row)
    embedding = index.embedding_of(others[-1].row)
    with IndexWriter(path) as writer:
        writer.lay_out([NewVideo(first.root, first.path, 1, 1, num_frames=len(frames))])
        writer.add([EncodedVideo(0, embedding, frames, seconds, first.num_real, 1.0)])
    rewrite_index(path, [video.row for video in VideoIndex(path).videos()])
    changed = VideoIndex(path)
    assert len(changed) == len(index)
    stored = read_bank(changed)
    assert stored is not None
    assert stored.is_stale
    store_bank(path, np.array(stored.captions), stored.bank.beta)
    check(path)


def test_what_makes_no_sense_is_refused(folder: Path) -> None:
    run("encode", "out.h5", "plain.h5")
    (folder / "empty.txt").write_text("\n \n")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    for command, code, problem in [
        (["search", "a", "--index", "plain.h5", "--norm", "qb"], 3, "plain.h5 has no query bank"),
        (["search", "a", "--index", "i.h5", "--norm", "qb", "--pooling", "max"], 2, "requires mean pooling"),
        (["encode", "out.h5", "new.h5", "--querybank", "empty.txt"], 3, "empty.txt holds no captions"),
        (["encode", "out.h5", "new.h5", "--querybank", "bytes.txt"], 3, "bytes.txt is not UTF-8"),
        (["encode", "out.h5", "new.h5", "--querybank", "none.txt"], 3, "none.txt does not exist"),
        (
            ["encode", "out.h5", "new.h5", "--querybank", "bank.txt", "--beta", "0"],
            2,
            "--beta must be from 1e-06",
        ),
        (
            ["encode", "out.h5", "new.h5", "--beta", "5"],
            2,
            "encoding.beta 5 needs a query bank, and new.h5 has none",
        ),
        (["encode", "out.h5", "plain.h5", "--beta", "5"], 2, "encoding.beta 5 needs a query bank"),
    ]:
        done = run(*command)
        assert (done.exit_code, problem in done.stderr) == (code, True), done.stderr
    assert not (folder / "new.h5").exists()


def test_pruned_videos_leave_the_bank_and_another_beta_needs_no_captions(
    folder: Path, training_store: Path
) -> None:
    path = folder / "i.h5"
    names = sorted(video.path for video in VideoIndex(path).videos())
    before = path.read_bytes()
    done = run("encode", "out.h5", "i.h5")
    assert done.exit_code == 0, done.stderr
    assert path.read_bytes() == before  # nothing to do
    films = shutil.copytree(training_store.parent / "videos", folder / "films")
    for name in names[:2]:
        (films / name).unlink()
    done = run("extract-frames", "films", "fewer.h5", "--num-frames", str(FRAMES), "--size", str(SIDE))
    assert done.exit_code == 0, done.stderr
    done = run("encode", "fewer.h5", "i.h5", "--prune", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["num_pruned"] == 2
    assert sorted(video.path for video in VideoIndex(path).videos()) == names[2:]
    check(path)
    done = run("encode", "fewer.h5", "i.h5", "--beta", "0.1")
    assert done.exit_code == 0, done.stderr
    bank = stored_bank(path)
    assert (bank.bank.beta, bank.is_stale) == (pytest.approx(0.1), False)
    written = path.read_bytes()
    assert run("encode", "fewer.h5", "i.h5", "--beta", "0.1").exit_code == 0
    assert path.read_bytes() == written


def test_damage_is_told(folder: Path) -> None:
    index, bank = VideoIndex(folder / "i.h5"), stored_bank(folder / "i.h5")
    settings = np.array([BETA, 1, len(index)], np.float32)
    for part in (settings, bank.bank.column, bank.captions):
        content = bytearray((folder / "i.h5").read_bytes())
        at = content.index(np.asarray(part).tobytes())
        content[at : at + 4] = np.float32(np.nan).tobytes()
        (folder / "part.h5").write_bytes(content)
        with pytest.raises(DataError, match="does not match its checksum"):
            read_bank(VideoIndex(folder / "part.h5"))
    wrong = (("settings", 0, np.nan), *(("settings", 1, top) for top in (np.nan, np.inf, 0)))
    for name, place, value in (*wrong, ("column", 0, np.nan)):
        shutil.copy(folder / "i.h5", folder / "wrong.h5")
        with IndexWriter(folder / "wrong.h5") as writer:
            current = writer.current()
            rows = list(current.rows())
            tensors = {f"{BANK_PREFIX}{key}": np.array(part) for key, part in current.bank_tensors.items()}
            tensors[f"{BANK_PREFIX}{name}"][place] = value
            writer.rewrite(rows, tensors)
        with pytest.raises(DataError, match="query bank do not match"):
            read_bank(VideoIndex(folder / "wrong.h5"))
    content = bytearray((folder / "i.h5").read_bytes())
    row = np.asarray(index.embeddings[0][0]).tobytes()
    content[content.index(row) : content.index(row) + 4] = np.float32(np.nan).tobytes()
    (folder / "nan.h5").write_bytes(content)
    with pytest.raises(DataError, match="NaN or infinite"):
        search_normalised(
            VideoIndex(folder / "nan.h5"),
            current_bank(index),
            np.ones((1, index.meta.embed_dim), np.float32),
            top=3,
        )
