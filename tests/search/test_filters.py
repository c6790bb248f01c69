"""Filters by folder, length and date: the ranking of those videos alone, however far down they are."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.indexes import META, add_film, unit_rows
from tests.support.models import write_model
from vopcli.cli.app import app
from vopcli.encoding.query_bank import bank_tensors
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import SilentProgress
from vopcli.search.filters import VideoFilter
from vopcli.search.search import Index
from vopcli.search.stores import CopyRules, store_of
from vopcli.weights.reader import read_weights

DAY_NS = 86_400 * 10**9
FOLDERS = ["", "deep/er/", "DEEP ü/", "x" * 200 + "/", os.fsdecode(b"\xff/")]


def write_videos(path: Path, names: Sequence[str], *, meta: IndexMeta = META) -> None:
    """Write an index of videos of 0, 1, 2 ... seconds, changed at a later hour each."""
    create_index(path, meta)
    new = [
        NewVideo("/Videos", name, 9, 10**18 + place * DAY_NS // 5, num_frames=1)
        for place, name in enumerate(names)
    ]
    with IndexWriter(path) as writer:
        writer.lay_out(new)
        writer.add(
            [
                EncodedVideo(slot, row, row[None].astype(np.float16), np.array([0.5]), 1, float(slot))
                for slot, row in enumerate(unit_rows(len(names), seed=1))
            ]
        )


def passes(index: VideoIndex, row: int, where: VideoFilter) -> bool:
    """Whether a row passes, computed from its video, one row at a time."""
    video = index.video(row)
    day = datetime.datetime.fromtimestamp(video.mtime_ns / 1e9).astimezone().date()
    return (
        where.folder.casefold() in f"{Path(video.file).parent}/".casefold()
        and (where.longer is None or video.duration_seconds >= where.longer)
        and (where.shorter is None or video.duration_seconds <= where.shorter)
        and (where.after is None or day >= where.after)
        and (where.before is None or day <= where.before)
    )


DAY = datetime.datetime.fromtimestamp(10**9).astimezone().date()  # of the first video
FILTERS = [
    VideoFilter(),
    VideoFilter("deep"),
    VideoFilter("/videos/deep/ER/"),
    VideoFilter("Ü"),
    VideoFilter(os.fsdecode(b"\xff")),
    VideoFilter("nothing"),
    VideoFilter(longer=7.0, shorter=31.0),
    VideoFilter(longer=40.0),  # the film alone
    VideoFilter(after=DAY + datetime.timedelta(2), before=DAY + datetime.timedelta(4)),
    VideoFilter(before=datetime.date.max, after=datetime.date.min),
    VideoFilter("e", shorter=20.0, after=DAY + datetime.timedelta(1)),
]


@pytest.mark.parametrize(
    ("pooling", "norm"), [(None, "none"), ("mean", "none"), ("max", "none"), ("mean", "qb")]
)
def test_the_answer_is_the_full_ranking_without_the_others(
    tmp_path: Path, pooling: str | None, norm: str
) -> None:
    path = tmp_path / "i.h5"
    write_videos(path, [f"{FOLDERS[number % 5]}{number}.mp4" for number in range(39)])
    add_film(path, matching=2, windows=range(4), is_whole=True)
    with IndexWriter(path) as writer:
        rows = list(writer.current().rows())
        writer.rewrite(rows, bank_tensors(writer.current(), rows, unit_rows(9, seed=8), 15.0))
    index, query = Index(path, cache=tmp_path), unit_rows(1, seed=2)[0]
    everything = index.search(query, top=100, pooling=pooling, norm=norm)
    counts = set()
    for where in FILTERS:
        for top in (3, 100):
            found = index.search(query, top=top, pooling=pooling, norm=norm, where=where)
            passed = [hit for hit in everything if passes(index.videos, hit.row, where)][:top]
            assert [(hit.path, hit.start, hit.score) for hit in found] == [
                (hit.path, hit.start, hit.score) for hit in passed
            ]
            assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
            counts.add(len(found))
    assert counts >= {0, 1, 3, 40}


def test_a_video_that_is_the_last_of_thousands_is_found(tmp_path: Path) -> None:
    path, query = tmp_path / "i.h5", unit_rows(1, seed=2)[0]
    last = int((unit_rows(4200, seed=1) @ query).argmin())
    write_videos(path, [f"{'one/' if number == last else ''}{number}.mp4" for number in range(4200)])
    index = Index(path, cache=tmp_path)
    for where in (
        VideoFilter("one/"),
        VideoFilter("e", longer=last - 0.5, shorter=last + 0.5, before=datetime.date(2100, 1, 1)),
    ):
        for moments in (False, True):
            found = index.search(query, where=where, moments=moments, dedupe=0.9)
            assert [hit.path for hit in found] == [f"one/{last}.mp4"]


@pytest.mark.slow
def test_an_index_in_milvus_is_filtered_as_its_file(tmp_path: Path) -> None:
    path, query = tmp_path / "i.h5", unit_rows(1, seed=2)[0]
    write_videos(path, [f"{FOLDERS[number % 5]}{number}_%.mp4" for number in range(39)])
    add_film(path, matching=2, windows=range(4), is_whole=True)
    store = store_of(name := Path("milvus:i.db"))
    assert store
    store.write(VideoIndex(path), CopyRules(), SilentProgress())
    file, index = Index(path, cache=tmp_path), Index(name, cache=tmp_path)
    for where in [*FILTERS[1::2], FILTERS[-1], VideoFilter("d_e")]:
        for pooling in (None, "max"):
            found = [one.search(query, top=9, pooling=pooling, where=where) for one in (file, index)]
            assert [replace(hit, row=0) for hit in found[1]] == [replace(hit, row=0) for hit in found[0]]


def test_the_command_filters(tmp_path: Path) -> None:
    weights = write_model(tmp_path / "tiny.safetensors")
    meta = replace(META, weights=str(weights), fingerprint=read_weights(weights).fingerprint())
    write_videos(tmp_path / "i.h5", [f"{'ab'[number % 2]}/{number}.mp4" for number in range(12)], meta=meta)
    command = ["search", "a dog", "--index", str(tmp_path / "i.h5"), "--paths", "--in", "/A/"]
    command += ["--longer", "1", "--before", DAY.isoformat(), "--after", "2000-01-01"]
    result = CliRunner().invoke(app, command)
    index, where = VideoIndex(tmp_path / "i.h5"), VideoFilter("/a/", 1.0, before=DAY)
    expected = {index.video(row).file for row in index.rows() if passes(index, row, where)}
    assert 0 < len(expected) < 5
    assert {*result.stdout.splitlines()} == expected
    none = CliRunner().invoke(app, [*command, "--longer", "9999"])
    assert (none.exit_code, none.stdout) == (5, "")
    assert none.stderr == "no video has this folder, length and date\n"
    wrong = CliRunner().invoke(app, [*command, "--after", "yesterday"])
    assert wrong.exit_code == 2
    assert "--after: 'yesterday' is not a day such as 2026-11-29" in wrong.stderr
