from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import NAMES, contents, counts, make_bad_video, run
from tests.support.videos import drawn_number, make_video
from vopcli.config.choices import Fit, Resize
from vopcli.errors import DataError, VideoError
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.rows import FRAME_FORMAT
from vopcli.frames.store import FrameStore
from vopcli.video.sampling import WHOLE, parse_sampling
from vopcli.video.video import FrameSpec, read_frames, read_windows


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


@pytest.mark.parametrize("fit", [Fit.SQUASH, Fit.PAD])
def test_frames_that_show_the_whole_picture(folder: Path, store: Path, fit: Fit) -> None:
    run(folder, store, fit=fit)
    opened = FrameStore.open(store)
    assert opened.recipe.fit is fit
    assert fit.value in str(opened.recipe)
    for video in opened.videos:
        path, sampling = os.fspath(folder / video.path), parse_sampling("uniform:12")
        [expected] = read_windows(path, [WHOLE], FrameSpec(sampling, 32, fit=fit))
        np.testing.assert_array_equal(opened.read(video), expected.frames)
        assert not np.array_equal(expected.frames, read_frames(path, sampling, size=32).frames)
    assert counts(run(folder, store)) == {"num_unchanged": 4}
    with pytest.raises(DataError, match=f"holds frames fitted by {fit.value}, not crop"):
        run(folder, store, fit=Fit.CROP)


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
    assert ([path for path, _ in again.failed_before], again.failed, again.exit_code) == (["text.mp4"], [], 0)
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


def test_damaged_rows_are_refused_until_their_videos_are_extracted_again(folder: Path, store: Path) -> None:
    run(folder, store)
    whole = contents(store)
    damaged = bytearray(store.read_bytes())
    damaged[SegmentFile.read(store, FRAME_FORMAT).segments[0].columns["rows"].offset_bytes + 3] ^= 16
    store.write_bytes(damaged)
    with pytest.raises(DataError, match=r"out\.h5 is damaged: 1 of its rows") as refused:
        FrameStore.open(store)
    assert "vop extract-frames" in refused.value.hint
    plan = run(folder, store, dry_run=True)
    assert (plan.num_new, plan.num_unchanged) == (1, 3)
    assert store.read_bytes() == damaged
    summary = run(folder, store)
    assert (summary.num_new, summary.num_unchanged) == (1, 3)
    assert contents(store) == whole


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
        run(folder, store, strict=True, windows="whole")
    assert caught.value.exit_code == 3
    assert list(contents(store)) == ["0.avi"]
    with pytest.raises(VideoError, match=r"1-bad\.mp4"):
        run(folder, store, strict=True, windows="whole")
    (folder / "gone.mp4").symlink_to("nowhere")
    with pytest.raises(VideoError, match=r"gone\.mp4 does not exist"):
        run(folder, store, strict=True, windows="whole")


def test_a_video_that_changes_while_it_is_read_is_not_stored(folder: Path, store: Path) -> None:
    from vopcli.video import pool as decode_pool

    def rewriting(path: str, *rest: object, **more: object) -> object:
        sampled = list(read_windows(path, *rest, **more))  # type: ignore[arg-type]
        if path.endswith("2.avi"):
            Path(path).write_bytes(b"other content")
        if path.endswith("0.avi"):
            Path(path).unlink()
        yield from sampled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_pool, "read_windows", rewriting)
        summary = run(folder, store)
    assert dict(summary.failed) == {
        "0.avi": "deleted while it was read (No such file or directory)",
        "2.avi": "changed while it was read",
    }
    assert "not a video" in dict(run(folder, store).failed)["2.avi"]
