"""Thumbnails that encode makes: pictures of the frames that the model sees."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.encoding import SIZE, change, request_for, run
from tests.support.videos import drawn_number, make_video
from vopcli.encoding.thumbnails import encode_thumbnail, make_thumbnails
from vopcli.index.reader import VideoIndex
from vopcli.index.thumbnails import MAX_JPEG_BYTES, has_thumbnails, read_thumbnail, unpack_thumbnail


def opened(jpeg: bytes | None) -> np.ndarray:
    assert jpeg is not None
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def test_a_thumbnail_shows_the_frame() -> None:
    rows, columns = np.mgrid[:224, :224]
    frame = np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)
    small = opened(encode_thumbnail(frame))
    reference = np.asarray(Image.fromarray(frame).resize((128, 128)))
    assert small.shape == (128, 128, 3)
    assert np.abs(small.astype(int) - reference).mean() < 3
    assert opened(encode_thumbnail(frame[:48, :48])).shape == (48, 48, 3)


def test_noise_fits_into_a_slot_as_well() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    assert len(encode_thumbnail(noise[0])) <= MAX_JPEG_BYTES
    slots = make_thumbnails(noise, 3)
    assert [unpack_thumbnail(slot) is None for slot in slots] == [False, False, False, True]


def numbers(index: Path) -> dict[str, list[int]]:
    """By path the numbers that the thumbnails show; 35 pixels are enough for them."""
    videos = VideoIndex(index)
    return {
        video.path: [
            drawn_number(opened(read_thumbnail(videos, video.row, n))) for n in range(video.num_real)
        ]
        for video in videos.videos()
    }


def test_encoded_and_renamed_videos_have_their_thumbnails(tmp_path: Path, weights: Path) -> None:
    source, index = tmp_path / "videos", tmp_path / "i.h5"
    source.mkdir()
    make_video(source / "a.mp4", num_frames=60)
    request = request_for(source, index, weights)
    run(request)
    videos = VideoIndex(index)
    times = videos.frames_of(0)[1]
    assert numbers(index) == {"a.mp4": [int(time * 25) for time in times]}
    assert opened(read_thumbnail(videos, 0, 0)).shape == (SIZE, SIZE, 3)

    (source / "a.mp4").rename(source / "b.mp4")
    assert run(request).num_copied == 1
    assert numbers(index) == {"b.mp4": [int(time * 25) for time in times]}
    run(change(request, prune=True))
    assert numbers(index) == {"b.mp4": [int(time * 25) for time in times]}


def test_an_index_without_thumbnails_is_smaller_and_equal_in_everything_else(
    tmp_path: Path, weights: Path
) -> None:
    source = tmp_path / "videos"
    source.mkdir()
    make_video(source / "a.mp4", num_frames=30)
    sizes = []
    for thumbnails in (True, False):
        index = tmp_path / f"{thumbnails}.h5"
        run(change(request_for(source, index, weights), thumbnails=thumbnails))
        sizes.append(index.stat().st_size)
        assert has_thumbnails(VideoIndex(index), 0) is thumbnails
    assert 4 * 4096 <= sizes[0] - sizes[1] < 4 * 4096 + 3000
    frames = [VideoIndex(tmp_path / f"{name}.h5").frames_of(0)[0] for name in (True, False)]
    assert np.array_equal(*frames)
