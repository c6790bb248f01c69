"""Stores that keep several candidate frames of each segment: what is in them, and who reads which."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import contents, run
from tests.support.videos import drawn_number, make_video
from vopcli.cli.info import describe_file
from vopcli.errors import DataError, UsageError
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress
from vopcli.video.sampling import uniform_indices
from vopcli.video.video_file import TimeWindow

LENGTHS = {"long.mp4": 70, "middling.mp4": 17, "short.mp4": 3, "still.mp4": 1}
WINDOWS = {"middling.mp4": TimeWindow(0.2, 0.5)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, num_frames in LENGTHS.items():
        make_video(folder / name, num_frames=num_frames)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def numbers(frames: np.ndarray) -> list[int]:
    return [drawn_number(frame) for frame in frames]


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
@pytest.mark.parametrize("rule", ["uniform:6", "xpool:6"])
@pytest.mark.parametrize("candidates", [3, 5])
def test_who_reads_as_ever_reads_what_a_store_without_candidates_holds(
    folder: Path, store: Path, tmp_path: Path, rule: str, codec: str, candidates: int
) -> None:
    run(folder, store, sampling=rule, candidates=candidates, annotated=WINDOWS, codec=codec)
    run(folder, tmp_path / "plain.h5", sampling=rule, annotated=WINDOWS, codec=codec)
    many, plain = FrameStore.open(store), FrameStore.open(tmp_path / "plain.h5")
    assert (str(many.recipe.sampling), many.recipe.candidates) == (f"{rule}x{candidates}", candidates)
    assert many.recipe.middle == plain.recipe
    assert contents(store) == contents(tmp_path / "plain.h5")
    for one, other in zip(many.videos, plain.videos, strict=True):
        assert (one.num_frames, one.num_real) == (other.num_frames, other.num_real) == (6, one.num_real)
    described = describe_file(store, SilentProgress()).description
    assert described["frames"] == 4 * 6 * candidates


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
@pytest.mark.parametrize("workers", [0, 2])
def test_any_candidate_can_be_read(folder: Path, store: Path, codec: str, workers: int) -> None:
    run(folder, store, num_frames=6, candidates=3, codec=codec, size=64, workers=workers)
    opened = FrameStore.open(store)
    kept = {  # (6, 3); what a video lacks repeats its last frame
        name: np.reshape((uniform_indices(6, count, 3) + [count - 1] * 18)[:18], (6, 3))
        for name, count in LENGTHS.items()
    }
    assert kept["long.mp4"].tolist()[:2] == [[1, 5, 8], [12, 16, 20]]
    assert kept["short.mp4"].tolist() == [[0] * 3, [1] * 3] + [[2] * 3] * 4
    out = np.zeros((6, 6, 64, 64, 3), np.uint8)
    random = np.random.default_rng(0)
    for _ in range(5):
        drawn = random.integers(3, size=(4, 6), dtype=np.uint8)
        read = opened.read_batch(opened.videos, out, drawn)
        assert len(read) == 4
        for video, frames, places in zip(opened.videos, read, drawn, strict=True):
            assert numbers(frames) == kept[video.path][np.arange(6), places].tolist()
    for wrong in (np.full((4, 6), 3), np.full((4, 6), -1), np.zeros((4, 5), int), np.zeros((3, 6), int)):
        with pytest.raises(ValueError, match=r"with values of 0 to 2"):
            opened.read_batch(opened.videos, out, wrong)


def test_a_store_goes_on_with_its_own_candidates(folder: Path, store: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(folder, tmp_path / "videos"))
    run(source, store, sampling="uniform:6x3")
    make_video(source / "new.mp4", num_frames=40)
    assert run(source, store).num_new == 1
    assert run(source, store, num_frames=6, candidates=3).num_unchanged == 5
    assert FrameStore.open(store).verify() == []
    for options, other in (
        ({"num_frames": 6}, "uniform:6"),
        ({"num_frames": 6, "candidates": 5}, "uniform:6x5"),
    ):
        with pytest.raises(DataError, match=rf"holds sampling uniform:6x3, not {other}"):
            run(source, store, **options)
    with pytest.raises(UsageError, match="the number of candidates, 2, is even"):
        run(source, tmp_path / "even.h5", candidates=2)
    assert not (tmp_path / "even.h5").exists()


def test_a_flipped_byte_of_any_candidate_is_found(folder: Path, store: Path) -> None:
    run(folder / "long.mp4", store, sampling="uniform:6x3")
    opened = FrameStore.open(store)
    frames = opened.segments[0].columns["frames"]
    content = bytearray(store.read_bytes())
    content[frames.offset_bytes + 4 * frames.row_bytes] ^= 1  # the second segment's middle is frame 4
    content[frames.offset_bytes] ^= 1
    store.write_bytes(content)
    assert FrameStore.open(store).verify() == ["the frames of long.mp4 are damaged"]


def test_the_frames_of_clip4clip(folder: Path, store: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "slow.avi", num_frames=45, fps="3", codec=("-c:v", "mpeg4", "-q:v", "5"))
    make_video(tmp_path / "ntsc.mp4", num_frames=61, fps="30000/1001")
    for source, sampling, expected, num_real in (
        (tmp_path / "slow.avi", "clip4clip:12", [0, 3, 6, 9, 15, 18, 21, 24, 30, 33, 36, 42], 12),
        (tmp_path / "slow.avi", "clip4clip:4:head", [0, 3, 6, 9], 4),
        (tmp_path / "slow.avi", "clip4clip:4:tail", [33, 36, 39, 42], 4),
        (tmp_path / "ntsc.mp4", "clip4clip:5", [0, 29, 58, 58, 58], 3),
        (folder / "short.mp4", "clip4clip:3", [0, 0, 0], 1),
    ):
        run(source, store, sampling=sampling, overwrite=True, size=64)
        opened = FrameStore.open(store)
        (video,) = opened.videos
        assert (numbers(opened.read(video)), video.num_real) == (expected, num_real)
    run(tmp_path / "ntsc.mp4", store, sampling="clip4clip:5", size=64, overwrite=True,
        annotated={"ntsc.mp4": TimeWindow(1.0, 2.0)})  # fmt: skip
    (video,) = FrameStore.open(store).videos
    assert numbers(FrameStore.open(store).read(video)) == [29, 58, 58, 58, 58]  # the end second is taken too
    summary = run(folder / "short.mp4", store, sampling="clip4clip:5", size=64, overwrite=True,
                  annotated={"short.mp4": TimeWindow(5.0, 6.0)})  # fmt: skip
    assert "it has no frames in the window from 5 to 6 s" in summary.failed[0][1]
