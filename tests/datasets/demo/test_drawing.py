"""The demo set: read back from its own files with independent tools, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vopcli.datasets.demo.drawing import FRAME_RATE, HEIGHT_PX, NUM_FRAMES, WIDTH_PX, draw_video, write_video
from vopcli.datasets.demo.scenes import COLOURS, OPPOSITES, SHAPES, DemoVideo, plan_demo
from vopcli.errors import FileError
from vopcli.video.sampling import uniform_indices

PAIRS = list(plan_demo(seed=0))
VIDEOS = [video for pair in PAIRS for video in pair]
HAZY = {name: 100.0 + 0.5 * np.array(rgb) for name, rgb in COLOURS.items()}  # what haze lets through
TEST_PAIRS = [pair for pair in PAIRS if pair[0].split == "test"]


def one_pair(change: str, colour: str, shape: str) -> tuple[DemoVideo, DemoVideo]:
    return next(
        pair
        for pair in TEST_PAIRS
        if (pair[0].change, pair[0].start.colour, pair[0].start.shape) == (change, colour, shape)
    )


def decode(path: Path) -> NDArray[np.int64]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def shape_mask(frames: NDArray[np.int64], colour: str) -> NDArray[np.bool_]:
    """Find the pixels (F, H, W) nearer to the colour than to the middle shade of the ground."""
    ground = np.median(frames[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 3), axis=0)
    to_shape = np.abs(frames - HAZY[colour]).sum(-1)
    return to_shape < np.abs(frames - ground).sum(-1)


def test_a_pair_shows_the_same_pictures_in_opposite_order() -> None:
    forwards, backwards = one_pair("right", "red", "circle")
    np.testing.assert_array_equal(draw_video(backwards), draw_video(forwards)[::-1])
    assert not np.array_equal(draw_video(backwards), draw_video(forwards))


def test_the_frames_that_sampling_keeps_are_the_same_in_both_directions() -> None:
    kept = uniform_indices(12, NUM_FRAMES)
    assert sorted(NUM_FRAMES - 1 - index for index in kept) == kept


@pytest.mark.parametrize("video", VIDEOS[::23], ids=lambda video: video.name)
def test_shapes_stay_within_the_middle_square(video: DemoVideo) -> None:
    drawn = np.stack(draw_video(video)).astype(int)
    margin = (WIDTH_PX - HEIGHT_PX) // 2
    outside = np.concatenate([drawn[:, :, :margin], drawn[:, :, -margin:]], axis=2)
    assert (outside == outside[0]).all()
    assert (drawn[:, [0, -1]] == drawn[0, [0, -1]]).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_colour_and_change_can_be_read_off_the_decoded_file(tmp_path: Path, colour: str, shape: str) -> None:
    change = list(OPPOSITES)[(list(COLOURS).index(colour) + SHAPES.index(shape)) % 3 * 2]
    for video in one_pair(change, colour, shape):
        path = tmp_path / "film.mp4"
        write_video(path, draw_video(video))
        frames = decode(path)
        mask = shape_mask(frames, colour)
        shown = np.median(frames[mask], axis=0)
        assert min(COLOURS, key=lambda name: np.abs(shown - HAZY[name]).sum()) == colour
        area = mask.sum((1, 2))
        across = (mask * np.arange(WIDTH_PX)).sum((1, 2)) / area
        down = (mask * np.arange(HEIGHT_PX)[:, None]).sum((1, 2)) / area
        travelled = {
            "right": across[-1] - across[0],
            "left": across[0] - across[-1],
            "top": down[0] - down[-1],
            "bottom": down[-1] - down[0],
            "large": (area[-1] - area[0]) / 30,
            "small": (area[0] - area[-1]) / 30,
        }
        assert max(travelled, key=travelled.__getitem__) == video.change
        assert travelled[video.change] > 10


def test_shapes_have_their_own_outline() -> None:
    areas = {}
    for shape in SHAPES:
        frame = draw_video(one_pair("right", "white", shape)[0])[0].astype(int)[None]
        mask = shape_mask(frame, "white")[0]
        rows, columns = np.nonzero(mask)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        areas[shape] = mask.sum() / box
    # of its bounding box, tilted by up to 5 degrees, a circle fills 0.79, a square the most, a star the least
    assert areas["star"] < areas["triangle"] < areas["circle"] < areas["square"]


def test_the_file_plays(tmp_path: Path) -> None:
    path = tmp_path / "a film.mp4"
    drawn = draw_video(one_pair("top", "yellow", "star")[0])
    write_video(path, drawn)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", WIDTH_PX, HEIGHT_PX)
        assert stream.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == 6  # BT.601, as the pixels were converted
        assert float(stream.average_rate) == FRAME_RATE
        assert stream.frames == NUM_FRAMES
        assert float(stream.duration * stream.time_base) == pytest.approx(NUM_FRAMES / FRAME_RATE)
    assert np.abs(decode(path) - np.stack(drawn).astype(int)).mean() < 4
    player = cv2.VideoCapture(str(path))  # another player
    shown = [frame[..., ::-1].astype(int) for good, frame in iter(player.read, (False, None)) if good]
    assert len(shown) == NUM_FRAMES
    assert np.abs(np.stack(shown) - np.stack(drawn).astype(int)).mean() < 4
    assert [child.name for child in tmp_path.iterdir()] == ["a film.mp4"]


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    frames = draw_video(one_pair("large", "blue", "square")[0])
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, frames)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    write_video(tmp_path / "two.mp4", frames[::-1])
    assert (tmp_path / "one.mp4").read_bytes() != (tmp_path / "two.mp4").read_bytes()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file/sub/film\.mp4 lies below something that is not a folder"):
        write_video(tmp_path / "file" / "sub" / "film.mp4", draw_video(VIDEOS[0])[:1])
