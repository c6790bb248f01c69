from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from vopcli.errors import DataError
from vopcli.video.diff import Changes, find_changes
from vopcli.video.find_videos import find_videos
from vopcli.video.video_file import VideoFile


@dataclass(frozen=True)
class Noted(VideoFile):
    """What an earlier run noted: a type of its own, as in the frame store and the index."""


def note(folder: Path) -> dict[str, Noted]:
    """What an earlier run would have noted of the files that are in a folder now."""
    return {
        video.path: Noted(**vars(video) | {"sha256": hashlib.sha256(Path(video.file).read_bytes()).digest()})
        for video in find_videos([folder], print)
    }


def look(folder: Path, known: dict[str, Noted]) -> dict[str, object]:
    """Compare, and give back what is not empty in short form."""
    found = find_videos([folder], print)
    advanced: list[int] = []
    changes: Changes[Noted] = find_changes(found, known, lambda: advanced.append(1))
    assert len(advanced) == len(found)
    short: dict[str, object] = {
        "unchanged": [item.path for item in changes.unchanged],
        "deleted": sorted(item.path for item in changes.deleted),
        "new": [item.path for item in changes.new],
        "changed": [item.path for item in changes.changed],
        "duplicates": [(item.path, path) for item, path in changes.duplicates],
    }
    for name in ("same_content", "renamed", "copies"):
        short[name] = [(item.path, old.path) for item, old in getattr(changes, name)]
    return {name: value for name, value in short.items() if value}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {"a.mp4": b"content a", "b.mp4": b"content b", "c.mp4": b"longer content"}.items():
        (tmp_path / "v").mkdir(exist_ok=True)
        (tmp_path / "v" / name).write_bytes(content)
    return tmp_path / "v"


def test_first_look(folder: Path) -> None:
    assert look(folder, {}) == {"new": ["a.mp4", "b.mp4", "c.mp4"]}


def test_nothing_changed(folder: Path) -> None:
    assert look(folder, note(folder)) == {"unchanged": ["a.mp4", "b.mp4", "c.mp4"]}


def test_touched_only(folder: Path) -> None:
    known = note(folder)
    os.utime(folder / "a.mp4", ns=(5, 5))
    assert look(folder, known) == {"unchanged": ["b.mp4", "c.mp4"], "same_content": [("a.mp4", "a.mp4")]}


def test_other_content_of_the_same_size(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").write_bytes(b"content X")
    os.utime(folder / "a.mp4", ns=(5, 5))
    assert look(folder, known) == {"unchanged": ["b.mp4", "c.mp4"], "changed": ["a.mp4"]}


def test_other_content_of_another_size(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").write_bytes(b"content of another size")
    assert look(folder, known) == {"unchanged": ["b.mp4", "c.mp4"], "changed": ["a.mp4"]}


def test_renamed_and_moved_into_a_folder(folder: Path) -> None:
    known = note(folder)
    (folder / "sub").mkdir()
    (folder / "a.mp4").rename(folder / "sub" / "z.mp4")
    assert look(folder, known) == {"unchanged": ["b.mp4", "c.mp4"], "renamed": [("sub/z.mp4", "a.mp4")]}


def test_renamed_over_a_known_name(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").rename(folder / "b.mp4")
    assert look(folder, known) == {"unchanged": ["c.mp4"], "renamed": [("b.mp4", "a.mp4")]}


def test_two_names_swapped(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").rename(folder / "x")
    (folder / "b.mp4").rename(folder / "a.mp4")
    (folder / "x").rename(folder / "b.mp4")
    os.utime(folder / "a.mp4", ns=(5, 5))
    assert look(folder, known) == {"unchanged": ["c.mp4"], "copies": [("a.mp4", "b.mp4"), ("b.mp4", "a.mp4")]}


def test_a_copy_of_a_known_video_and_a_video_there_twice(folder: Path) -> None:
    known = note(folder)
    (folder / "a copy.mp4").write_bytes(b"content a")
    (folder / "n1.mp4").write_bytes(b"something new")
    (folder / "n2.mp4").write_bytes(b"something new")
    assert look(folder, known) == {
        "unchanged": ["a.mp4", "b.mp4", "c.mp4"],
        "copies": [("a copy.mp4", "a.mp4")],
        "new": ["n1.mp4"],
        "duplicates": [("n2.mp4", "n1.mp4")],
    }


def test_renamed_and_copied_at_once(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").rename(folder / "n1.mp4")
    (folder / "n2.mp4").write_bytes(b"content a")
    assert look(folder, known) == {
        "unchanged": ["b.mp4", "c.mp4"],
        "renamed": [("n1.mp4", "a.mp4")],
        "copies": [("n2.mp4", "a.mp4")],
    }


def test_vanished(folder: Path) -> None:
    known = note(folder)
    (folder / "a.mp4").unlink()
    assert look(folder, known) == {"unchanged": ["b.mp4", "c.mp4"], "deleted": ["a.mp4"]}


def test_what_another_source_holds_has_not_vanished(folder: Path, tmp_path: Path) -> None:
    known = note(folder)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "new.mp4").write_bytes(b"something new")
    assert look(tmp_path / "w", known) == {"new": ["new.mp4"]}


def test_the_whole_folder_moved(folder: Path, tmp_path: Path) -> None:
    known = note(folder)
    folder.rename(tmp_path / "w")
    names = ["a.mp4", "b.mp4", "c.mp4"]
    assert look(tmp_path / "w", known) == {"same_content": [(name, name) for name in names]}


def test_another_video_of_a_known_name_is_an_error(folder: Path, tmp_path: Path) -> None:
    known = note(folder)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.mp4").write_bytes(b"content a")
    assert look(tmp_path / "w", known) == {"unchanged": ["a.mp4"]}
    (tmp_path / "w" / "a.mp4").write_bytes(b"content X")
    with pytest.raises(
        DataError, match=r"a\.mp4 is already stored from .*v, and .*w/a\.mp4 is another video"
    ):
        look(tmp_path / "w", known)


def test_only_what_may_be_a_copy_is_read(folder: Path) -> None:
    (folder / "d.mp4").write_bytes(b"of a size of its own")
    found = find_videos([folder], print)
    assert set(find_changes(found, {}).hashes) == {"a.mp4", "b.mp4"}  # nine bytes each


def test_another_part_is_other_content(folder: Path) -> None:
    (folder / "copy.mp4").write_bytes(b"content a")
    known = note(folder)
    wanted = {"a.mp4": "end", "copy.mp4": "end"}

    def part(video: object) -> str:
        return "start" if isinstance(video, Noted) else wanted.get(video.path, "start")  # type: ignore[attr-defined]

    found = find_videos([folder], print)
    changes: Changes[Noted] = find_changes(found, known, part=part)

    assert [item.path for item in changes.unchanged] == ["b.mp4", "c.mp4"]
    assert [item.path for item in changes.changed] == ["a.mp4"]
    assert [(item.path, path) for item, path in changes.duplicates] == [("copy.mp4", "a.mp4")]
    assert changes.hashes["a.mp4"] == known["a.mp4"].sha256
    os.utime(folder / "a.mp4", ns=(5, 5))
    assert [item.path for item in find_changes(find_videos([folder], print), known, part=part).changed] == [
        "a.mp4"
    ]
    wanted["a.mp4"] = "start"
    changes = find_changes(find_videos([folder], print), known, part=part)
    assert [item.path for item, _ in changes.same_content] == ["a.mp4"]
    assert [item.path for item in changes.changed] == ["copy.mp4"]


def test_a_new_name_is_no_copy_of_another_part(folder: Path) -> None:
    known = note(folder)
    (folder / "new.mp4").write_bytes(b"content a")

    def part(video: object) -> bool:
        return getattr(video, "path", "") == "new.mp4"

    changes: Changes[Noted] = find_changes(find_videos([folder], print), known, part=part)
    assert ([item.path for item in changes.new], changes.copies) == (["new.mp4"], [])
