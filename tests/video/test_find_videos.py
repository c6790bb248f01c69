from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vopcli.errors import DataError, FileError
from vopcli.video.find_videos import LIST_SUFFIXES, VIDEO_SUFFIXES, find_videos
from vopcli.video.video_file import VideoFile


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def scan(*sources: Path) -> tuple[list[str], list[tuple[str, str]]]:
    problems: list[tuple[str, str]] = []
    found = find_videos(sources, lambda name, reason: problems.append((name, reason)))
    return [video.path for video in found], problems


def test_a_folder_is_walked_in_the_order_of_bytes(tmp_path: Path) -> None:
    for name in ["b.mp4", "a/z.mkv", "a/b/c.webm", "a.mp4", "B.MP4", "é.mov", "a b.avi"]:
        touch(tmp_path / name)
    paths = ["B.MP4", "a b.avi", "a.mp4", "a/b/c.webm", "a/z.mkv", "b.mp4", "é.mov"]
    assert scan(tmp_path) == (paths, [])


def test_what_is_found_says_where_it_is(tmp_path: Path) -> None:
    file = touch(tmp_path / "sub" / "one.mp4", b"12345")
    os.utime(file, ns=(1, 1_700_000_000_123_456_789))
    expected = VideoFile(os.fspath(tmp_path), "sub/one.mp4", 5, 1_700_000_000_123_456_789)
    assert find_videos([tmp_path], print) == [expected]
    assert expected.file == os.fspath(file)


def test_a_relative_source_gets_an_absolute_root(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "one.mp4")
    for source in [Path("videos"), Path("videos/"), Path("./videos/../videos")]:
        (video,) = find_videos([source], print)
        assert (video.root, video.path) == (os.fspath(tmp_path / "videos"), "one.mp4")


def test_every_suffix_in_either_case_and_nothing_else(tmp_path: Path) -> None:
    for suffix in VIDEO_SUFFIXES:
        touch(tmp_path / f"low{suffix}", b"\x47")
        touch(tmp_path / f"UP{suffix.upper()}", b"\x47")
    for name in ["a.jpg", "a.h5", "a.mp4.part", "a.txt", "a", "mp4", "a.srt", "a.mp3", "a.mp4~"]:
        touch(tmp_path / name)
    paths, problems = scan(tmp_path)
    assert len(paths) == 2 * len(VIDEO_SUFFIXES)
    assert not problems
    assert not set(VIDEO_SUFFIXES) & set(LIST_SUFFIXES)


def test_hidden_files_and_junk_folders_are_left_out(tmp_path: Path) -> None:
    for folder in [
        ".git",
        "__MACOSX",
        "@eaDir",
        ".Trashes",
        "$RECYCLE.BIN",
        "lost+found",
        "node_modules",
        "x/.y",
    ]:
        touch(tmp_path / folder / "no.mp4")
    touch(tmp_path / "System Volume Information" / "no.mp4")
    touch(tmp_path / "._one.mp4")
    touch(tmp_path / ".hidden.mp4")
    touch(tmp_path / "one.mp4")
    assert scan(tmp_path) == (["one.mp4"], [])


def test_what_is_named_is_taken_whatever_its_name(tmp_path: Path) -> None:
    names = [touch(tmp_path / name) for name in [".hidden.mp4", "no-suffix", "picture.gif"]]
    assert scan(*names) == ([".hidden.mp4", "no-suffix", "picture.gif"], [])
    touch(tmp_path / ".git" / "one.mp4")
    assert scan(tmp_path / ".git") == (["one.mp4"], [])


def test_typescript_is_told_from_a_transport_stream(tmp_path: Path) -> None:
    touch(tmp_path / "main.ts", b'import { a } from "b";\n')
    touch(tmp_path / "module.mts", b"export const x = 1;\n")
    touch(tmp_path / "film.ts", b"\x47\x40\x00\x10\x00" + bytes(183))
    touch(tmp_path / "camera.mts", b"\0\0\0\0\x47\x40\x00")
    touch(tmp_path / "empty.ts", b"")
    assert scan(tmp_path) == (["camera.mts", "empty.ts", "film.ts"], [])


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [
        b"two\nlines.mp4",
        b"-dash.mp4",
        b" space .mp4",
        b"\xff\xfe.mp4",
        b"tab\t.mp4",
        "🎬.mp4".encode(),
    ]
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb"):  # noqa: PTH123
            pass
    paths, problems = scan(tmp_path)
    assert [os.fsencode(path) for path in paths] == sorted(names)
    assert not problems


# Links


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "one.mp4")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "d").symlink_to("../c")
    assert scan(tmp_path) == (["a/one.mp4"], [])
    loop = tmp_path / "a" / "self.ts"
    loop.symlink_to("self.ts")
    assert scan(tmp_path) == (
        ["a/one.mp4"],
        [(os.fspath(loop), "cannot be used: Too many levels of symbolic links")],
    )


def test_many_links_to_each_other_do_not_multiply(tmp_path: Path) -> None:
    for name in "abcdefghijkl":
        touch(tmp_path / name / "one.mp4")
        for other in "abcdefghijkl":
            (tmp_path / name / f"to-{other}").symlink_to(f"../{other}")
    assert scan(tmp_path)[0] == [f"{name}/one.mp4" for name in "abcdefghijkl"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "one.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "folder").symlink_to("../elsewhere")
    (tmp_path / "videos" / "file.mp4").symlink_to("../elsewhere/one.mp4")
    assert scan(tmp_path / "videos") == (["file.mp4", "folder/one.mp4"], [])
    (tmp_path / "link").symlink_to("videos")
    (video, _) = find_videos([tmp_path / "link"], print)
    assert video.root == os.fspath(tmp_path / "link")


def test_what_cannot_be_looked_at_is_reported(tmp_path: Path) -> None:
    (tmp_path / "dangling.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.ts")
    touch(tmp_path / "one.mp4")
    paths, problems = scan(tmp_path)
    assert paths == ["one.mp4"]
    assert sorted(problems) == [
        (os.fspath(tmp_path / "dangling.mp4"), "does not exist"),
        (os.fspath(tmp_path / "pipe.mp4"), "is not a regular file"),
        (os.fspath(tmp_path / "pipe.ts"), "is not a regular file"),
    ]


SCAN_AS_NOBODY = """
import os, sys
from pathlib import Path
from vopcli.video.find_videos import find_videos
from vopcli.errors import VopError
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    found = find_videos([Path(sys.argv[1])], lambda name, reason: print(os.path.basename(name), reason))
    print([video.path for video in found])
except VopError as error:
    print(type(error).__name__, str(error).split("/")[-1])
"""


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder below which another user may go, which pytest's own are not."""
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
        if parent.name.startswith("pytest-of"):
            break
    return tmp_path


def test_a_locked_folder_is_reported_and_a_locked_source_is_an_error(open_folder: Path) -> None:
    touch(open_folder / "locked" / "one.mp4")
    touch(open_folder / "two.mp4")
    (open_folder / "locked").chmod(0)
    try:
        for source, expected in [
            (open_folder, "locked may not be opened: permission denied\n['two.mp4']\n"),
            (open_folder / "locked", "FileError locked may not be opened: permission denied\n"),
        ]:
            command = [sys.executable, "-c", SCAN_AS_NOBODY, os.fspath(source)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
            assert (done.stdout, done.stderr) == (expected, "")
    finally:
        (open_folder / "locked").chmod(0o700)


# Lists, several sources


def test_a_list_names_a_video_a_line(tmp_path: Path) -> None:
    for name in ["in/a.mp4", "in/sub/b", "in/ c d.mp4", "out/e.mp4", "in/#f.mp4"]:
        touch(tmp_path / name)
    lines = [
        b"\xef\xbb\xbfa.mp4\r",
        b"sub/b",
        b"",
        b" c d.mp4",
        b"  ",
        b"./sub/../a.mp4",
        b"#f.mp4",
        b"../out/e.mp4",
    ]
    lines += [os.fsencode(tmp_path / "in" / "sub" / "b"), b"gone.mp4", b"sub"]
    touch(tmp_path / "in" / "list.TXT", b"\n".join(lines))
    paths, problems = scan(tmp_path / "in" / "list.TXT")
    assert paths == [" c d.mp4", "#f.mp4", os.fspath(tmp_path / "out" / "e.mp4"), "a.mp4", "sub/b"]
    assert problems == [
        (os.fspath(tmp_path / "in" / "gone.mp4"), "does not exist"),
        (os.fspath(tmp_path / "in" / "sub"), "is a folder, not a video"),
    ]


def test_the_same_file_by_two_sources_is_one(tmp_path: Path) -> None:
    file = touch(tmp_path / "one.mp4")
    (tmp_path / "link").symlink_to(tmp_path)
    assert scan(tmp_path, file, tmp_path / "link")[0] == ["one.mp4"]


def test_two_files_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x" / "one.mp4")
    touch(tmp_path / "b" / "x" / "one.mp4")
    with pytest.raises(
        DataError, match=r"a/x/one\.mp4 and .*b/x/one\.mp4 would both be stored as x/one\.mp4"
    ) as caught:
        scan(tmp_path / "a", tmp_path / "b")
    assert "folder that contains both" in caught.value.hint
    assert scan(tmp_path)[0] == ["a/x/one.mp4", "b/x/one.mp4"]


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"gone\.txt does not exist"):
        scan(tmp_path / "gone.txt")


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert scan(tmp_path) == ([], [])


def test_a_very_deep_folder(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 900)
    deep.mkdir(parents=True)
    touch(deep / "one.mp4")
    assert scan(tmp_path) == (["d/" * 900 + "one.mp4"], [])
