from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.annotations import write_videos
from vopcli.datasets.video_files import VideoFiles, find_video_files, stem, suffix
from vopcli.errors import DataError, FileError


@pytest.mark.parametrize(
    ("path", "stem_", "suffix_"),
    [
        ("a/b.c/one.mp4", "a/b.c/one", ".mp4"),
        ("one.b.MP4", "one.b", ".mp4"),
        ("a.b/one", "a.b/one", ""),
        ("one.", "one", "."),
        ("a/.mp4", "a/.mp4", ""),
        ("..mp4", ".", ".mp4"),
        ("", "", ""),
    ],
)
def test_stem_and_suffix(path: str, stem_: str, suffix_: str) -> None:
    assert (stem(path), suffix(path)) == (stem_, suffix_)


def test_files_are_found_in_whatever_folder(tmp_path: Path) -> None:
    write_videos(
        tmp_path, ["b/x.1.mp4", "a/y.avi", "z.MOV", "a/c/bare.", "a/y.json", "a/y.txt", "a/no_suffix"]
    )
    files = find_video_files(tmp_path)
    assert files.by_stem("x.1") == ("b/x.1.mp4",)
    assert files.by_stem("y") == ("a/y.avi",)
    assert files.by_stem("z") == ("z.MOV",)
    assert files.by_stem("x") == files.by_stem("no_suffix") == files.by_stem("bare") == ()
    assert files.by_name("bare.") == ("a/c/bare.",)
    assert files.by_name("y.json") == ("a/y.json",)
    assert files.by_name("a/y.avi") == ()
    assert (len(files), files.unreadable) == (3, ())


def test_two_files_of_one_stem_are_both_told(tmp_path: Path) -> None:
    write_videos(tmp_path, ["b/x.webm", "a/x.mp4", "c/x.mkv"])
    assert find_video_files(tmp_path).by_stem("x") == ("a/x.mp4", "b/x.webm", "c/x.mkv")
    assert find_video_files(tmp_path, prefer=[".avi", ".webm", ".mp4"]).by_stem("x") == ("b/x.webm",)
    write_videos(tmp_path, ["d/x.webm"])
    assert find_video_files(tmp_path, prefer=[".webm"]).by_stem("x") == ("b/x.webm", "d/x.webm")


def test_links_to_one_file_are_one_video(tmp_path: Path) -> None:
    write_videos(tmp_path, ["real/x.mp4", "other/y.mp4"])
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "x.mp4").symlink_to(tmp_path / "real" / "x.mp4")
    (tmp_path / "links" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "links" / "up").symlink_to(tmp_path)
    (tmp_path / "links" / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "away").symlink_to(tmp_path / "other")
    files = find_video_files(tmp_path)
    assert files.by_stem("x") == ("links/x.mp4",)
    assert files.by_stem("y") == ("other/y.mp4",)  # a folder keeps its own name
    assert files.by_stem("gone") == ()


def test_hidden_files_are_no_videos(tmp_path: Path) -> None:
    write_videos(tmp_path, ["x.mp4", "._x.mp4", ".trash/x.mp4"])
    assert find_video_files(tmp_path).by_stem("x") == ("x.mp4",)


def test_folders_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    write_videos(tmp_path, ["x.mp4"])
    above = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # folders so deep that the system takes no path to the last of them, not even of root
        os.mkdir("d" * 250, dir_fd=above)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    files = find_video_files(tmp_path)
    shutil.rmtree(tmp_path / ("d" * 250))
    assert files.by_stem("x") == ("x.mp4",)
    assert len(files.unreadable) == 1
    assert files.unreadable[0].startswith(str(tmp_path / "ddd"))


def test_a_wrong_root(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"nowhere does not exist"):
        find_video_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"empty has no files"):
        find_video_files(tmp_path / "empty")
    with pytest.raises(DataError, match=r"file is not a folder"):
        find_video_files(tmp_path / "file")


def test_keys_of_a_store_are_videos_whatever_their_suffix() -> None:
    files = VideoFiles(["a/x.null", "a/y.", "z"])
    assert files.by_stem("x") == ("a/x.null",)
    assert files.by_stem("y") == ("a/y.",)
    assert files.by_stem("z") == ("z",)
    assert files.example() == "a/x.null"
    assert VideoFiles([]).example() == ""


PATHS = st.lists(st.text("ab./\u00e9", min_size=1, max_size=6), max_size=12)


@given(paths=PATHS, name=st.text("ab.\u00e9", min_size=1, max_size=4))
def test_look_ups_agree_with_a_search_through_all(paths: list[str], name: str) -> None:
    files = VideoFiles(paths)
    names = {path: path.split("/")[-1] for path in paths}
    assert files.by_name(name) == tuple(sorted(path for path in names if names[path] == name))
    cut = {path: os.path.splitext(file)[0] for path, file in names.items()}  # noqa: PTH122 - an oracle
    undotted = {path: part for path, part in cut.items() if not names[path].startswith(".")}
    assert set(files.by_stem(name)) >= {path for path, part in undotted.items() if part == name}
    assert all(names[path].startswith(name) for path in files.by_stem(name))
