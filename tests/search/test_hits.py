"""Hits in an index with windows: complete films, films of an interrupted run, and changed ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, WIDTH
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.search import Index
from vopcli.video.video_file import WHOLE, TimeWindow

QUERY = np.eye(WIDTH, dtype=np.float32)[0]
OTHER = np.eye(WIDTH, dtype=np.float32)[1]
NUM_FRAMES = 12
SECONDS = 10.0  # of a window


def add_film(path: Path, *, matching: int, windows: Sequence[int], mtime_ns: int = 1, is_whole: bool) -> None:
    """Add windows of a film of four, one of which matches the query, and its own row if it is whole."""
    spans = [TimeWindow(SECONDS * number, SECONDS * (number + 1)) for number in windows]
    new = [
        NewVideo("/v", "film.mp4", 9, mtime_ns, num_frames=NUM_FRAMES, window=span, is_part=True)
        for span in spans
    ]
    new += [NewVideo("/v", "film.mp4", 9, mtime_ns, num_frames=NUM_FRAMES)] * is_whole
    with IndexWriter(path) as writer:
        writer.lay_out(new)
        for slot, video in enumerate(new):
            is_match = video.window.start_seconds == SECONDS * matching and video.window != WHOLE
            vector = QUERY if is_match else OTHER
            start = 0.0 if video.window == WHOLE else video.window.start_seconds
            times = (
                start
                + (np.arange(NUM_FRAMES) + 0.5) * (4 if video.window == WHOLE else 1) * SECONDS / NUM_FRAMES
            )
            frames = np.repeat(vector[None], NUM_FRAMES, axis=0).astype(np.float16)
            writer.add([EncodedVideo(slot, vector, frames, times, NUM_FRAMES, 40.0)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_index(tmp_path / "i.h5", META)
    return tmp_path / "i.h5"


def ranges(path: Path) -> list[tuple[float, float]]:
    with Index(path, cache=path.parent) as index:
        return [(hit.start, hit.end) for hit in index.search(QUERY)]


@pytest.mark.parametrize("matching", [0, 2, 3])
@pytest.mark.parametrize("is_whole", [True, False])
def test_the_window_that_matches_is_the_range(path: Path, matching: int, *, is_whole: bool) -> None:
    """The last window too, and before the run has come to the row of the film."""
    add_film(path, matching=matching, windows=range(4), is_whole=is_whole)
    assert len(VideoIndex(path)) == is_whole
    assert ranges(path) == [(SECONDS * matching, SECONDS * (matching + 1))]


def test_windows_of_an_earlier_state_of_the_file_do_not_mix_with_the_new_ones(path: Path) -> None:
    add_film(path, matching=0, windows=range(4), is_whole=True)
    add_film(path, matching=1, windows=[0, 1], mtime_ns=2, is_whole=False)  # interrupted
    index = VideoIndex(path)
    by_time = {
        record["mtime_ns"]: [index.record_of(row)["window"][0] for row in index.windows_of(number)]
        for number in index.rows()
        if (record := index.record_of(number))["is_part"]
    }
    assert by_time == {1: [0.0, 10.0, 20.0, 30.0], 2: [0.0, 10.0]}
    add_film(path, matching=1, windows=[2, 3], mtime_ns=2, is_whole=True)
    assert ranges(path) == [(10.0, 20.0)]
    assert sum(1 for _ in VideoIndex(path).rows()) == 5


def test_hits_are_ranked_from_one(path: Path) -> None:
    add_film(path, matching=1, windows=range(4), is_whole=True)
    with Index(path, cache=path.parent) as index:
        assert [hit.rank for hit in index.search(QUERY, moments=True)] == [1]
