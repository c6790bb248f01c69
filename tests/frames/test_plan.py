"""What an extraction decodes: new and changed content, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.extracting import contents, counts, make_bad_video, run
from tests.support.videos import make_video
from vopcli.errors import DataError, FileError
from vopcli.frames.store import FrameStore


def test_nothing_to_do_writes_nothing(folder: Path, store: Path) -> None:
    run(folder, store)
    before = store.read_bytes()
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    assert store.read_bytes() == before


def test_new_videos_are_added(folder: Path, store: Path) -> None:
    run(folder / "sub", store)
    shutil.copytree(folder / "sub", folder / "sub" / "deeper")
    make_video(folder / "sub" / "new.mp4")
    assert counts(run(folder / "sub", store)) == {"num_unchanged": 2, "num_new": 1, "num_copies": 2}
    assert list(contents(store)) == ["1.avi", "3.avi", "deeper/1.avi", "deeper/3.avi", "new.mp4"]


def test_changed_content_of_the_same_size(folder: Path, store: Path) -> None:
    old, new = (folder / "0.avi").read_bytes(), (folder / "2.avi").read_bytes()
    (folder / "0.avi").write_bytes(old.ljust(50_000, b"\0"))
    run(folder, store)
    before = contents(store)
    (folder / "0.avi").write_bytes(new.ljust(50_000, b"\0"))
    assert counts(run(folder, store)) == {"num_unchanged": 3, "num_changed": 1}
    after = contents(store)
    assert after.pop("0.avi") == after["2.avi"]
    assert before.pop("0.avi") != before["2.avi"]
    assert after == before
    assert counts(run(folder, store)) == {"num_unchanged": 4}


def frames_at(store: Path) -> dict[str, tuple[int, int]]:
    """Where the frames of each video are stored: newly decoded ones would be stored elsewhere."""
    return {video.path: (video.segment, video.first_frame) for video in FrameStore.open(store).videos}


def test_touched_videos_are_not_decoded_and_not_hashed_again(folder: Path, store: Path) -> None:
    run(folder, store)
    before = frames_at(store)
    os.utime(folder / "0.avi", ns=(10**18, 10**18))
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    assert frames_at(store) == before
    content = (folder / "0.avi").read_bytes()
    (folder / "0.avi").write_bytes(bytes(len(content)))  # a hash would tell it from the former
    os.utime(folder / "0.avi", ns=(10**18, 10**18))
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    assert frames_at(store) == before


def test_renamed_videos_keep_their_frames(folder: Path, store: Path) -> None:
    run(folder, store)
    before, places = contents(store), frames_at(store)
    (folder / "0.avi").rename(folder / "sub" / "zero.avi")
    assert counts(run(folder, store)) == {"num_unchanged": 3, "num_renamed": 1}
    after = contents(store)
    assert after.pop("sub/zero.avi") == before.pop("0.avi")
    assert after == before
    assert frames_at(store)["sub/zero.avi"] == places["0.avi"]
    folder.rename(folder.parent / "moved")
    assert counts(run(folder.parent / "moved", store)) == {"num_unchanged": 4}
    assert {video.root for video in FrameStore.open(store).videos} == {os.fspath(folder.parent / "moved")}


def test_two_videos_that_swap_names(folder: Path, store: Path) -> None:
    run(folder, store)
    before, places = contents(store), frames_at(store)
    (folder / "0.avi").rename(folder / "x")
    (folder / "2.avi").rename(folder / "0.avi")
    (folder / "x").rename(folder / "2.avi")
    assert "num_changed" not in counts(run(folder, store))
    after = contents(store)
    assert (after["0.avi"], after["2.avi"]) == (before["2.avi"], before["0.avi"])
    after_places = frames_at(store)
    assert (after_places["0.avi"], after_places["2.avi"]) == (places["2.avi"], places["0.avi"])
    assert counts(run(folder, store)) == {"num_unchanged": 4}


def test_the_same_video_twice_is_decoded_once(folder: Path, store: Path) -> None:
    for name in ["copy.avi", "sub/copy.avi"]:
        shutil.copyfile(folder / "0.avi", folder / name)
    (folder / "link.avi").symlink_to("0.avi")
    summary = run(folder, store)
    assert counts(summary) == {"num_new": 4, "num_copies": 3}
    assert summary.num_frames == 48
    stored = contents(store)
    assert stored["copy.avi"] == stored["sub/copy.avi"] == stored["link.avi"] == stored["0.avi"]
    places = {(video.segment, video.first_frame) for video in FrameStore.open(store).videos}
    assert len(places) == 4


def test_vanished_videos_are_kept_and_counted(folder: Path, store: Path) -> None:
    run(folder, store)
    before = contents(store)
    (folder / "0.avi").unlink()
    assert counts(run(folder, store)) == {"num_unchanged": 3, "num_vanished": 1}
    assert contents(store) == before
    assert counts(run(folder / "2.avi", store)) == {"num_unchanged": 1, "num_vanished": 1}


def test_no_video(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no video found in .*empty") as caught:
        run(tmp_path / "empty", store)
    assert ".mp4" in caught.value.hint
    (tmp_path / "empty" / "gone.mp4").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"no video found in .*; .*gone\.mp4 does not exist"):
        run(tmp_path / "empty", store)
    with pytest.raises(FileError, match="nowhere does not exist"):
        run(tmp_path / "nowhere", store)
    assert not store.exists()


def test_two_folders_with_one_name(folder: Path, store: Path) -> None:
    other = Path(shutil.copytree(folder / "sub", folder.parent / "other"))
    shutil.copyfile(folder / "0.avi", other / "1.avi")
    with pytest.raises(DataError, match=r"sub/1\.avi and .*other/1\.avi would both be stored as 1\.avi"):
        run([folder / "sub", other], store)
    run(folder / "sub", store)
    before = store.read_bytes()
    with pytest.raises(
        DataError, match=r"1\.avi is already stored from .*sub, and .*other/1\.avi is another video"
    ):
        run(other, store)
    assert store.read_bytes() == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder: Path, store: Path) -> None:
    make_bad_video(folder)
    shutil.copyfile(folder / "0.avi", folder / "copy.avi")
    plan = run(folder, store, dry_run=True)
    assert counts(plan) == {"num_new": 5, "num_copies": 1}
    assert plan.num_frames == 48
    assert plan.num_bytes == 48 * (32 * 32 * 3 + 16)
    assert str(plan).startswith(f"{store} would get 48 frames, 0.1 MB")
    assert not store.exists()
    run(folder, store)
    before = store.read_bytes()
    make_video(folder / "new.mp4")
    (folder / "0.avi").rename(folder / "zero.avi")
    plan = run(folder, store, dry_run=True)
    assert counts(plan) == {"num_unchanged": 4, "num_renamed": 1, "num_new": 1}
    assert plan.num_bytes == 12 * (32 * 32 * 3 + 16)
    assert store.read_bytes() == before
