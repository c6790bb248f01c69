"""The path of a folder's own index, and the number of videos to update."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.indexes import make_index, new_videos
from vopcli.index.folder import count_changes, indexes_in, own_index
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.video.find_videos import find_videos


def test_a_folder_holds_its_index_where_no_video_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "films", tmp_path / "cache"
    folder.mkdir()
    own = own_index([folder], cache)
    assert own.parent.parent == folder
    own.parent.mkdir()
    (own.parent / "a.mp4").touch()
    assert find_videos([folder], print) == []
    (folder / "b.mp4").touch()
    one, two = own_index([folder / "b.mp4"], cache), own_index([folder, tmp_path], cache)
    assert len({own, one, two, own_index([tmp_path], cache)}) == 4
    assert one.is_relative_to(cache)
    assert own_index([tmp_path, folder], cache) == two
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert own_index([folder], cache).is_relative_to(cache)


def test_changes_are_counted_by_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, ["a.mp4", "b.mp4", "c.mp4"])
    found = new_videos(["a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    assert count_changes(VideoIndex(path), found[:3]) == (0, 0)
    assert count_changes(VideoIndex(path), found) == (1, 0)
    assert count_changes(VideoIndex(path), found[1:]) == (1, 1)
    assert count_changes(VideoIndex(path), new_videos(["b.mp4", "a.mp4", "c.mp4"])) == (2, 0)
    with IndexWriter(path) as writer:
        writer.note_failures([(found[3], "not a video")])
    assert count_changes(VideoIndex(path), found) == (0, 0)
    changed = replace(found[0], size=1)
    assert count_changes(VideoIndex(path), [changed, *found[1:]]) == (1, 0)
    with IndexWriter(path) as writer:
        writer.note_failures([(changed, "not a video any more")])  # its row of the former state stays
    assert count_changes(VideoIndex(path), [changed, *found[1:]]) == (0, 0)


def test_indexes_are_told_from_other_files(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", ["a.mp4"])
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "folder.h5").mkdir()
    assert indexes_in(tmp_path) == [tmp_path / "i.h5"]
