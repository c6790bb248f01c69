"""The pipeline of reading, model and writing: all videos arrive, whatever ends the run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.indexes import META, new_videos, unit_rows
from tests.support.progress import Counting
from vopcli.encoding.pipeline import encode_videos
from vopcli.encoding.request import EncodeSummary
from vopcli.encoding.sources import EncodePlan, Job
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.progress import SilentProgress
from vopcli.video.video_file import TimeWindow

NAMES = [f"{number:02d}.mp4" for number in range(20)]
FRAMES = 3


class Model:
    """Gives each frame the direction that its pixels number, and NaN to the last video."""

    batch_size = 2 * FRAMES
    num_frames = None

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = unit_rows(256)[frames[:, 0, 0, 0]]
        rows[frames[:, 0, 0, 0] == len(NAMES) - 1] = np.nan
        return rows


class Source:
    """Videos whose pixels are the number of the video; one cannot be read."""

    def __init__(self, stop_after: int = len(NAMES)) -> None:
        self.stop_after = stop_after

    def jobs(self, _: EncodePlan) -> Iterator[Job | tuple[int, str]]:
        for slot in range(len(NAMES)):
            if slot == self.stop_after:
                raise KeyboardInterrupt
            if slot == 4:
                yield slot, "it is damaged"
            else:
                frames = np.full((FRAMES, 2, 2, 3), slot, np.uint8)
                yield Job(slot, frames, np.arange(FRAMES) + 0.5, FRAMES - slot % 2, float(FRAMES))


def encode(path: Path, source: Source, add: Any = None) -> EncodeSummary:
    create_index(path, META)
    summary = EncodeSummary(path)
    plan = EncodePlan(to_encode=new_videos(NAMES, num_frames=FRAMES))
    model: Any = Model()
    with IndexWriter(path) as writer:
        writer.lay_out(plan.to_encode)
        target: Any = (
            writer if add is None else SimpleNamespace(index=writer.index, older=writer.older, add=add)
        )
        any_source: Any = source
        encode_videos(model, target, any_source, plan, summary, SilentProgress())
    return summary


def test_every_video_is_written_with_its_own_frames(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    summary = encode(path, Source())
    assert summary.failures == [
        ("04.mp4", "it is damaged"),
        ("19.mp4", "its embedding is not finite; try --precision fp32"),
    ]
    assert (summary.num_new, summary.num_changed) == (18, 0)
    assert summary.num_frames == sum(FRAMES - slot % 2 for slot in range(20) if slot != 4)
    index = VideoIndex(path)
    assert sorted(video.path for video in index.videos()) == [
        n for n in NAMES if n not in {"04.mp4", "19.mp4"}
    ]
    for video in index.videos():
        direction = unit_rows(256)[int(video.path[:2])]
        frames, seconds = index.frames_of(video.row)
        np.testing.assert_allclose(index.embedding_of(video.row), direction, atol=1e-6)
        np.testing.assert_array_equal(frames, np.tile(direction.astype(np.float16), (FRAMES, 1)))
        assert seconds.tolist() == [0.5, 1.5, 2.5]
        assert video.num_real == FRAMES - int(video.path[:2]) % 2


def test_completed_videos_are_written_when_a_run_is_interrupted(tmp_path: Path) -> None:
    path, before = tmp_path / "i.h5", threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        encode(path, Source(stop_after=11))
    # The batches before the interrupt: slots 0 and 1, 2 and 3, 4 (failed) to 6, 7 to 9.
    assert len(VideoIndex(path)) == 9
    assert threading.active_count() == before


@pytest.mark.parametrize("reason", ["it is damaged", "its embedding is not finite; try --precision fp32"])
@pytest.mark.parametrize("num_videos", [1, 4, 40])  # in a batch
def test_one_bad_window_ends_its_film_alone(tmp_path: Path, num_videos: int, reason: str) -> None:
    path, progress = tmp_path / "i.h5", Counting()
    create_index(path, META)
    films = [(name, window) for name in ("bad.mp4", "good.mp4") for window in (0, 1, 2, None)]
    plan = EncodePlan(
        to_encode=[
            NewVideo("/v", name, 1, 1, num_frames=1)
            if window is None
            else NewVideo("/v", name, 1, 1, num_frames=1, window=TimeWindow(window, window + 1), is_part=True)
            for name, window in films
        ]
    )

    class Films:
        """The second window of the first film cannot be read, or its embedding is NaN; one has no frames."""

        def jobs(self, _: EncodePlan) -> Iterator[Job | tuple[int, str]]:
            for slot, (name, window) in enumerate(films):
                is_bad = (name, window) == ("bad.mp4", 1)
                if is_bad and "damaged" in reason:
                    yield slot, reason
                elif (name, window) != ("good.mp4", 2):
                    pixel = len(NAMES) - 1 if is_bad else slot
                    yield Job(slot, np.full((1, 2, 2, 3), pixel, np.uint8), np.zeros(1), 1, 3.0)

    model: Any = Model()
    model.batch_size = num_videos
    source: Any = Films()
    summary = EncodeSummary(path)
    with IndexWriter(path) as writer:
        writer.lay_out(plan.to_encode)
        encode_videos(model, writer, source, plan, summary, progress)
    assert summary.failures == [("bad.mp4", reason)]
    assert progress.failed == ["bad.mp4"]
    assert progress.tasks == {"encode": (8, 8)}
    assert (summary.num_new, summary.num_changed) == (1, 0)
    index = VideoIndex(path)
    assert [video.path for video in index.videos()] == ["good.mp4"]
    assert len(index.windows_of(next(index.videos()).row)) == 2


@pytest.mark.parametrize("failing", [0, 18])
def test_a_full_disk_is_an_error_be_it_at_the_last_video(tmp_path: Path, failing: int) -> None:
    calls: list[int] = []

    def add(videos: Sequence[EncodedVideo]) -> None:
        calls.append(len(videos))
        if failing in [video.slot for video in videos]:
            raise OSError("no space left")

    before = threading.active_count()
    with pytest.raises(OSError, match="no space left"):
        encode(tmp_path / "i.h5", Source(), add)
    assert calls
    assert threading.active_count() == before
