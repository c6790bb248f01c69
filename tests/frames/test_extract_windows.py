"""Frames of a part of a video, from `ExtractRequest.windows` to the store and what is made of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import contents, make_two_videos, run
from tests.support.videos import drawn_number
from vopcli.cli.info import describe_file
from vopcli.errors import VideoError
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress
from vopcli.video.video_file import WHOLE, TimeWindow

FIRST_SECOND = TimeWindow(0.0, 1.0)
SECOND_SECOND = TimeWindow(1.0, 2.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_videos(tmp_path_factory.mktemp("made"))


def frame_numbers(store: Path) -> dict[str, list[int]]:
    opened = FrameStore.open(store)
    assert opened.verify() == []
    return {video.path: [drawn_number(frame) for frame in opened.read(video)] for video in opened.videos}


def did(summary: object) -> tuple[int, ...]:
    """New, changed, unchanged, copies."""
    return tuple(getattr(summary, f"num_{name}") for name in ("new", "changed", "unchanged", "copies"))


@pytest.mark.parametrize("workers", [0, 2])
def test_only_the_window_is_sampled(folder: Path, store: Path, workers: int) -> None:
    windows = {"a.mp4": SECOND_SECOND, "elsewhere.mp4": FIRST_SECOND}
    assert did(run(folder, store, num_frames=5, annotated=windows, workers=workers)) == (2, 0, 0, 0)
    assert frame_numbers(store) == {"a.mp4": [27, 32, 37, 42, 47], "b.mp4": [3, 11, 19, 27, 35]}
    opened = FrameStore.open(store)
    assert [video.window for video in opened.videos] == [SECOND_SECOND, WHOLE]
    np.testing.assert_allclose(opened.videos[0].seconds, np.array([27, 32, 37, 42, 47]) / 25)
    assert opened.videos[0].duration_seconds == pytest.approx(2.4)  # of the video, not of the window
    assert describe_file(store, SilentProgress()).description["videos_with_window"] == 1


def test_another_window_decodes_that_video_again_and_the_same_one_nothing(folder: Path, store: Path) -> None:
    run(folder, store, num_frames=5, annotated={"a.mp4": FIRST_SECOND})
    before = contents(store)
    assert did(run(folder, store, annotated={"a.mp4": FIRST_SECOND})) == (0, 0, 2, 0)
    assert contents(store) == before
    assert did(run(folder, store, annotated={"a.mp4": SECOND_SECOND}, dry_run=True)) == (0, 1, 1, 0)
    assert did(run(folder, store, annotated={"a.mp4": SECOND_SECOND})) == (0, 1, 1, 0)
    assert contents(store)["b.mp4"] == before["b.mp4"]
    assert frame_numbers(store)["a.mp4"] == [27, 32, 37, 42, 47]
    assert did(run(folder, store)) == (0, 1, 1, 0)  # without a window: all of it
    assert frame_numbers(store)["a.mp4"] == [5, 17, 29, 41, 53]


def test_the_rate_counts_from_the_start_of_the_window(folder: Path, store: Path) -> None:
    windows = {"a.mp4": TimeWindow(1.2, 2.0), "b.mp4": TimeWindow(0.0, 0.5)}
    assert run(folder, store, sampling="fps:5", annotated=windows, dry_run=True).num_frames == 4 + 3
    assert run(folder, store, sampling="fps:5", annotated=windows, workers=2).num_frames == 4 + 3
    assert frame_numbers(store)["a.mp4"] == [30, 35, 40, 45]


def test_a_window_without_a_frame_is_a_failure_of_that_video(folder: Path, store: Path) -> None:
    windows = {"a.mp4": SECOND_SECOND, "b.mp4": TimeWindow(31.0, 62.0)}
    summary = run(folder, store, annotated=windows, num_frames=5)
    reason = "it has no frames in the window from 31 to 62 s, the last is at 1.56 s"
    assert summary.failed == [("b.mp4", reason)]
    assert summary.exit_code == 4
    assert list(frame_numbers(store)) == ["a.mp4"]
    assert run(folder, store, annotated=windows).failed_before == [("b.mp4", reason)]
    with pytest.raises(VideoError, match=r"b\.mp4: it has no frames in the window"):
        run(folder, store, annotated=windows, strict=True)
    # Another window is another question: no --retry-failed is needed.
    assert did(run(folder, store, annotated=windows | {"b.mp4": FIRST_SECOND})) == (0, 1, 1, 0)
    assert frame_numbers(store)["b.mp4"] == [2, 7, 12, 17, 22]


def test_the_same_content_in_two_windows_is_two_videos(folder: Path, store: Path) -> None:
    shutil.copy(folder / "a.mp4", folder / "c.mp4")
    windows = {"a.mp4": FIRST_SECOND, "c.mp4": SECOND_SECOND}
    assert did(run(folder, store, num_frames=5, annotated=windows)) == (3, 0, 0, 0)
    assert frame_numbers(store)["a.mp4"] == [2, 7, 12, 17, 22]
    assert frame_numbers(store)["c.mp4"] == [27, 32, 37, 42, 47]
    one, _, other = FrameStore.open(store).videos
    assert one.sha256 == other.sha256
    assert one.content_sha256 != other.content_sha256
    shutil.copy(folder / "a.mp4", folder / "d.mp4")
    assert did(run(folder, store, annotated=windows | {"d.mp4": SECOND_SECOND})) == (0, 0, 3, 1)
    assert frame_numbers(store)["d.mp4"] == [27, 32, 37, 42, 47]
