from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import contents, make_bad_video, make_videos, run
from tests.support.videos import drawn_number, make_video
from vopcli.config.choices import Resize
from vopcli.errors import BusyError, DataError, FileError, UsageError, VideoError
from vopcli.frames.store import FrameStore
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import read_frames

NAMES = ["0.avi", "2.avi", "sub/1.avi", "sub/3.avi"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the videos that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "videos"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def counts(summary: object) -> dict[str, int]:
    """The counts of a summary that are not zero, but for frames and bytes."""
    return {
        name: value
        for name, value in vars(summary).items()
        if name.startswith("num_") and value and name not in {"num_frames", "num_bytes", "num_found"}
    }


# What is stored


def test_a_folder_of_videos(folder: Path, store: Path) -> None:
    summary = run(folder, store)
    assert counts(summary) == {"num_new": 4}
    assert 48 * (32 * 32 * 3 + 8) < summary.num_bytes < store.stat().st_size
    assert (summary.num_found, summary.num_frames, summary.exit_code) == (4, 48, 0)
    opened = FrameStore.open(store)
    assert [video.path for video in opened.videos] == NAMES
    for video in opened.videos:
        file = folder / video.path
        expected = read_frames(os.fspath(file), parse_sampling("uniform:12"), size=32)
        np.testing.assert_array_equal(opened.read(video), expected.frames)
        np.testing.assert_array_equal(video.seconds, expected.seconds)
        assert (video.root, video.size, video.mtime_ns) == (
            os.fspath(folder),
            file.stat().st_size,
            file.stat().st_mtime_ns,
        )
        assert (video.width, video.height, video.fps, video.num_real) == (64, 48, 25.0, 12)
        count = 14 + int(file.stem)
        middles = [(count * k // 12 + count * (k + 1) // 12 - 1) // 2 for k in range(12)]
        assert [drawn_number(frame) for frame in opened.read(video)] == middles
        np.testing.assert_allclose(video.seconds, np.array(middles) / 25, atol=1e-9)


def test_worker_processes_give_the_same(folder: Path, store: Path, tmp_path: Path) -> None:
    make_bad_video(folder)
    assert run(folder, store, workers=2).exit_code == 4
    run(folder, tmp_path / "other.h5", workers=0)
    assert contents(store) == contents(tmp_path / "other.h5")
    assert FrameStore.open(store).failures == FrameStore.open(tmp_path / "other.h5").failures


def test_jpeg_is_nearly_the_same_picture(folder: Path, store: Path, tmp_path: Path) -> None:
    run(folder, store, codec="jpeg", workers=2, size=224)
    run(folder, tmp_path / "raw.h5", size=224)
    jpeg, raw = FrameStore.open(store), FrameStore.open(tmp_path / "raw.h5")
    for video, other in zip(jpeg.videos, raw.videos, strict=True):
        assert video.path == other.path
        difference = np.abs(jpeg.read(video).astype(int) - raw.read(other))
        assert difference.mean() < 2  # a swap of red and blue would be far more
    assert store.stat().st_size < (tmp_path / "raw.h5").stat().st_size / 4


def test_frames_resized_the_legacy_way(folder: Path, store: Path) -> None:
    run(folder, store, resize=Resize.LEGACY_TENSOR)
    opened = FrameStore.open(store)
    assert opened.recipe.resize is Resize.LEGACY_TENSOR
    for video in opened.videos:
        path, sampling = os.fspath(folder / video.path), parse_sampling("uniform:12")
        expected = read_frames(path, sampling, size=32, resize=Resize.LEGACY_TENSOR)
        np.testing.assert_array_equal(opened.read(video), expected.frames)
        assert not np.array_equal(expected.frames, read_frames(path, sampling, size=32).frames)
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    with pytest.raises(DataError, match="holds frames resized by legacy-tensor, not bicubic"):
        run(folder, store, resize=Resize.BICUBIC)


def test_frames_by_the_second(folder: Path, store: Path) -> None:
    make_video(folder / "long.mp4", num_frames=55)
    run(folder, store, sampling="fps:5")
    opened = FrameStore.open(store)
    by_path = {video.path: video for video in opened.videos}
    assert [drawn_number(frame) for frame in opened.read(by_path["long.mp4"])] == list(range(0, 55, 5))
    assert by_path["0.avi"].num_frames == 3
    assert str(opened.recipe.sampling) == "fps:5"
    run(folder, store)  # the store's own rule goes on
    assert contents(store).keys() == by_path.keys()


def test_a_short_video_says_how_many_frames_are_its_own(tmp_path: Path, store: Path) -> None:
    make_video(tmp_path / "short.mp4", num_frames=3)
    run(tmp_path / "short.mp4", store)
    (video,) = FrameStore.open(store).videos
    assert (video.num_frames, video.num_real) == (12, 3)
    assert [drawn_number(frame) for frame in FrameStore.open(store).read(video)] == [0, 1] + [2] * 10


# Running it again


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


def test_touched_videos_are_not_decoded_and_not_hashed_again(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, store)
    before = contents(store)
    os.utime(folder / "0.avi", ns=(10**18, 10**18))
    monkeypatch.setattr("vopcli.frames.extract.decode_videos", None)
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    assert contents(store) == before
    monkeypatch.setattr("vopcli.video.diff.hash_file", None)
    assert counts(run(folder, store)) == {"num_unchanged": 4}


def test_renamed_videos_keep_their_frames(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder, store)
    before = contents(store)
    (folder / "0.avi").rename(folder / "sub" / "zero.avi")
    monkeypatch.setattr("vopcli.frames.extract.decode_videos", None)
    assert counts(run(folder, store)) == {"num_unchanged": 3, "num_renamed": 1}
    after = contents(store)
    assert after.pop("sub/zero.avi") == before.pop("0.avi")
    assert after == before
    folder.rename(folder.parent / "moved")
    assert counts(run(folder.parent / "moved", store)) == {"num_unchanged": 4}
    assert {video.root for video in FrameStore.open(store).videos} == {os.fspath(folder.parent / "moved")}


def test_two_videos_that_swap_names(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder, store)
    before = contents(store)
    (folder / "0.avi").rename(folder / "x")
    (folder / "2.avi").rename(folder / "0.avi")
    (folder / "x").rename(folder / "2.avi")
    monkeypatch.setattr("vopcli.frames.extract.decode_videos", None)
    assert "num_changed" not in counts(run(folder, store))
    after = contents(store)
    assert (after["0.avi"], after["2.avi"]) == (before["2.avi"], before["0.avi"])
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


def test_overwrite_makes_the_store_anew(folder: Path, store: Path) -> None:
    run(folder, store)
    (folder / "0.avi").unlink()
    assert counts(run(folder, store, overwrite=True, num_frames=3)) == {"num_new": 3}
    assert list(contents(store)) == NAMES[1:]
    assert str(FrameStore.open(store).recipe.sampling) == "uniform:3"
    assert sorted(item.name for item in store.parent.iterdir()) == ["out.h5", "videos"]


# Failures


def test_bad_videos_are_recorded_and_the_others_done(folder: Path, store: Path) -> None:
    make_bad_video(folder, "text.mp4")
    make_bad_video(folder, "empty.mp4")
    (folder / "gone.mp4").symlink_to("nowhere")
    summary = run(folder, store)
    assert counts(summary) == {"num_new": 4}
    assert summary.exit_code == 4
    reasons = dict(summary.failed)
    assert sorted(reasons) == ["empty.mp4", "text.mp4"]
    assert "empty" in reasons["empty.mp4"]
    assert "not a video" in reasons["text.mp4"]
    assert summary.unreadable == [(os.fspath(folder / "gone.mp4"), "does not exist")]
    assert sorted(FrameStore.open(store).failures) == sorted(summary.failed)
    assert list(contents(store)) == NAMES


def test_failed_videos_are_tried_again_only_when_asked_or_changed(folder: Path, store: Path) -> None:
    bad = make_bad_video(folder)
    run(folder, store)
    before = store.read_bytes()
    again = run(folder, store)
    assert ([path for path, _ in again.failed_before], again.failed, again.exit_code) == (["text.mp4"], [], 4)
    assert store.read_bytes() == before
    retried = run(folder, store, retry_failed=True)
    assert ([path for path, _ in retried.failed], retried.failed_before) == (["text.mp4"], [])
    shutil.copyfile(folder / "0.avi", bad)
    repaired = run(folder, store)
    assert (counts(repaired), repaired.exit_code) == ({"num_unchanged": 4, "num_copies": 1}, 0)
    assert FrameStore.open(store).failures == []


def test_a_stored_video_that_becomes_bad_is_no_longer_shown(folder: Path, store: Path) -> None:
    run(folder, store)
    (folder / "0.avi").write_text("not a video any more")
    summary = run(folder, store)
    assert [path for path, _ in summary.failed] == ["0.avi"]
    assert list(contents(store)) == NAMES[1:]


def test_a_bad_video_that_vanishes_is_no_loss(folder: Path, store: Path) -> None:
    bad = make_bad_video(folder)
    run(folder, store)
    bad.unlink()
    summary = run(folder, store)
    assert (counts(summary), summary.exit_code) == ({"num_unchanged": 4}, 0)


def test_copies_of_a_bad_video_fail_with_it(folder: Path, store: Path) -> None:
    shutil.copyfile(make_bad_video(folder), folder / "twin.mp4")
    summary = run(folder, store)
    assert sorted(path for path, _ in summary.failed) == ["text.mp4", "twin.mp4"]
    assert len({reason for _, reason in summary.failed}) == 1
    assert [path for path, _ in run(folder, store, sampling="uniform").failed_before] == [
        "text.mp4",
        "twin.mp4",
    ]


@pytest.mark.parametrize("sampling", ["uniform", "fps:2"])
def test_nothing_but_bad_videos(tmp_path: Path, store: Path, sampling: str) -> None:
    (tmp_path / "bad").mkdir()
    make_bad_video(tmp_path / "bad")
    summary = run(tmp_path / "bad", store, sampling=sampling)
    assert (summary.exit_code, len(summary.failed)) == (4, 1)
    assert len(FrameStore.open(store).failures) == 1


def test_strict_stops_at_the_first_and_keeps_what_is_done(folder: Path, store: Path) -> None:
    make_bad_video(folder, "text.mp4").rename(folder / "1-bad.mp4")
    with pytest.raises(VideoError, match=r"1-bad\.mp4: .*not a video") as caught:
        run(folder, store, strict=True)
    assert caught.value.exit_code == 3
    assert list(contents(store)) == ["0.avi"]
    with pytest.raises(VideoError, match=r"1-bad\.mp4"):
        run(folder, store, strict=True)
    (folder / "gone.mp4").symlink_to("nowhere")
    with pytest.raises(VideoError, match=r"gone\.mp4 does not exist"):
        run(folder, store, strict=True)


def test_a_video_that_changes_while_it_is_read_is_not_stored(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vopcli.video import pool as decode_pool

    def rewriting(path: str, *rest: object, **more: object) -> object:
        sampled = read_frames(path, *rest, **more)  # type: ignore[arg-type]
        if path.endswith("2.avi"):
            Path(path).write_bytes(b"other content")
        if path.endswith("0.avi"):
            Path(path).unlink()
        return sampled

    monkeypatch.setattr(decode_pool, "read_frames", rewriting)
    summary = run(folder, store)
    assert dict(summary.failed) == {
        "0.avi": "deleted while it was read (No such file or directory)",
        "2.avi": "changed while it was read",
    }
    monkeypatch.undo()
    assert "not a video" in dict(run(folder, store).failed)["2.avi"]


# What is refused before anything is written


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


def test_another_recipe_is_refused(folder: Path, store: Path) -> None:
    run(folder, store, sampling="uniform:3")
    for options, message in [
        ({"num_frames": 12}, "sampling uniform:3, not uniform:12"),
        ({"sampling": "fps:1"}, "sampling uniform:3, not fps:1"),
        ({"size": 48}, "frames of 32 x 32 pixels, not 48 x 48"),
        ({"codec": "jpeg"}, "codec raw, not jpeg"),
    ]:
        for dry_run in (False, True):
            with pytest.raises(DataError, match=message) as caught:
                run(folder, store, **options, dry_run=dry_run)
            assert "--overwrite" in caught.value.hint
    assert counts(run(folder, store, size=None)) == {"num_unchanged": 4}
    assert counts(run(folder, store, num_frames=3, codec="raw")) == {"num_unchanged": 4}


def test_a_store_named_like_a_video_or_not_a_store(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2\.avi has the name of a video"):
        run(folder / "0.avi", folder / "2.avi", overwrite=True)
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(DataError, match="is not an HDF5 file"):
        run(folder, tmp_path / "notes")
    with pytest.raises(DataError, match="is not a frame store and is not overwritten"):
        run(folder, tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes").read_text() == "precious"
    with pytest.raises(FileError, match="is a folder"):
        run(folder, tmp_path)
    with pytest.raises(UsageError, match="unknown sampling 'sometimes'"):
        run(folder, tmp_path / "x.h5", sampling="sometimes")


def test_a_damaged_store_is_refused_and_may_be_overwritten(folder: Path, store: Path) -> None:
    run(folder, store)
    store.write_bytes(store.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"is truncated|is damaged|cannot be read"):
        run(folder, store)
    assert counts(run(folder, store, overwrite=True)) == {"num_new": 4}


def test_a_store_in_use_is_not_overwritten(folder: Path, store: Path) -> None:
    from vopcli.frames.writer import FrameStoreWriter

    run(folder, store)
    with FrameStoreWriter(store):
        for options in ({}, {"overwrite": True}, {"dry_run": True}):
            with pytest.raises(BusyError, match="in use by another process"):
                run(folder, store, **options)
    assert contents(store)


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


def test_no_room_is_said_before_it_starts(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 5_000_000))
    with pytest.raises(DataError, match=r"out\.h5 needs 13 MB, and its disk has 5 MB left") as caught:
        run(folder, store, size=256, num_frames=16)
    assert "--codec jpeg" in caught.value.hint
    assert not store.exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder: Path, store: Path) -> None:
    make_bad_video(folder)
    shutil.copyfile(folder / "0.avi", folder / "copy.avi")
    plan = run(folder, store, dry_run=True)
    assert counts(plan) == {"num_new": 5, "num_copies": 1}
    assert plan.num_frames == 60
    assert plan.num_bytes == 60 * (32 * 32 * 3 + 8)
    assert str(plan).startswith(f"{store} would get 60 frames, 0.2 MB")
    assert not store.exists()
    run(folder, store)
    before = store.read_bytes()
    make_video(folder / "new.mp4")
    (folder / "0.avi").rename(folder / "zero.avi")
    plan = run(folder, store, dry_run=True)
    assert counts(plan) == {"num_unchanged": 4, "num_renamed": 1, "num_new": 1}
    assert plan.num_bytes == 0  # the failed video's room is free
    assert store.read_bytes() == before


def test_a_store_in_a_folder_that_does_not_exist_yet(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "new" / "folder" / "out.h5", dry_run=True)
    assert not (tmp_path / "new").exists()
    run(folder, tmp_path / "new" / "folder" / "out.h5")
    assert len(contents(tmp_path / "new" / "folder" / "out.h5")) == 4
