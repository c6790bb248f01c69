"""Ranges of videos with captions of their own: `ExtractRequest.ranges`, stored as windows."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import contents, counts, make_two_videos, run, vop
from tests.support.videos import drawn_number
from vopcli.frames.store import FrameStore, StoredVideo
from vopcli.video.video_file import TimeWindow

FPS, NUM_FRAMES = 25, 60
ONE, TWO, LATE = TimeWindow(0.3, 1.1), TimeWindow(1.0, 2.0), TimeWindow(2.0, 99.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_videos(tmp_path_factory.mktemp("made"))


def middles_of(window: TimeWindow, count: int) -> list[int]:
    """The middle frame of each of ``count`` equal segments of the frames that are shown in a range."""
    inside = [n for n in range(NUM_FRAMES) if window.start_seconds <= n / FPS < window.end_seconds]
    bounds = np.linspace(0, len(inside), count + 1).astype(int)
    return [inside[(low + high - 1) // 2] for low, high in itertools.pairwise(bounds)]


def numbers_of(opened: FrameStore, video: StoredVideo) -> list[int]:
    return [drawn_number(frame) for frame in opened.read(video)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_range_has_the_frames_shown_in_it(folder: Path, store: Path, workers: int) -> None:
    run(folder, store.with_name("plain.h5"), num_frames=5)
    ranges = {"a.mp4": (ONE, TWO, LATE), "elsewhere.mp4": (ONE,)}
    summary = run(folder, store, num_frames=5, ranges=ranges, workers=workers)
    assert (counts(summary), summary.num_frames) == ({"num_new": 2}, 5 * 5)
    opened = FrameStore.open(store)
    assert opened.verify() == []
    assert list(opened.items) == ["a.mp4@0.3-1.1", "a.mp4@1-2", "a.mp4@2-99", "a.mp4", "b.mp4"]
    for name, window in zip(opened.items, (ONE, TWO, LATE), strict=False):
        expected = middles_of(window, 5)
        assert numbers_of(opened, opened.items[name]) == expected
        np.testing.assert_allclose(opened.items[name].seconds, np.array(expected) / FPS)
    assert contents(store) == contents(store.with_name("plain.h5"))


def test_ranges_are_added_to_a_store(folder: Path, store: Path) -> None:
    run(folder, store, num_frames=5)
    assert counts(run(folder, store, ranges={"a.mp4": (ONE,)})) == {"num_changed": 1, "num_unchanged": 1}
    assert counts(run(folder, store, ranges={"a.mp4": (ONE,)})) == {"num_unchanged": 2}
    summary = run(folder, store, ranges={"a.mp4": (ONE, TWO)})
    assert (counts(summary), summary.num_frames) == ({"num_changed": 1, "num_unchanged": 1}, 5 * 2)
    assert counts(run(folder, store)) == {"num_unchanged": 2}
    opened = FrameStore.open(store)
    assert numbers_of(opened, opened.items["a.mp4@0.3-1.1"]) == middles_of(ONE, 5)
    assert numbers_of(opened, opened.items["a.mp4@1-2"]) == middles_of(TWO, 5)


def test_copies_have_the_ranges_of_their_own_captions(folder: Path, store: Path) -> None:
    run(folder, store, num_frames=5, ranges={"a.mp4": (ONE,)})
    for name in ("same.mp4", "other.mp4", "plain.mp4"):
        shutil.copyfile(folder / "a.mp4", folder / name)
    ranges = {"a.mp4": (ONE,), "same.mp4": (ONE,), "other.mp4": (TWO,)}
    summary = run(folder, store, ranges=ranges)
    assert counts(summary) == {"num_new": 2, "num_copies": 1, "num_unchanged": 2}
    opened = FrameStore.open(store)
    names = [name for name in opened.items if "@" in name]
    assert names == ["a.mp4@0.3-1.1", "other.mp4@1-2", "same.mp4@0.3-1.1"]
    assert numbers_of(opened, opened.items["other.mp4@1-2"]) == middles_of(TWO, 5)


def test_a_range_without_frames_is_told_and_not_sought_again(folder: Path, store: Path) -> None:
    captions = folder / "captions.jsonl"
    lines = [
        {"video": "a", "caption": "x", "start": 7, "end": 8},
        {"video": "c", "caption": "y", "start": 0, "end": 1},
    ]
    captions.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, out, err = vop("extract-frames", folder, store, "--captions", captions, "--size", "32")
    assert code == 0
    assert "1 videos with ranges are not among the videos to extract: c\n" in err
    assert "a.mp4 has no frames from 7 to 8 s\n" in err
    assert ": 2 new" in out
    for option in ((), ("--dry-run",)):
        code, out, err = vop("extract-frames", folder, store, "--captions", captions, *option)
        assert (code, out.rpartition(": ")[2].partition(";")[0].strip()) == (0, "2 unchanged")
        assert err.count("a.mp4 has no frames from 7 to 8 s\n") == 1


def test_a_failed_video_with_ranges_is_not_tried_again(folder: Path, store: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    ranges = {"bad.mp4": (ONE,)}
    assert [path for path, _ in run(folder, store, ranges=ranges).failed] == ["bad.mp4"]
    summary = run(folder, store, ranges=ranges)
    assert [path for path, _ in summary.failed_before] == ["bad.mp4"]
    assert summary.failed == []
