from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

from tests.support.stores import (
    FRAMES,
    JPEG,
    RAW,
    SIZE,
    check,
    create,
    frames_of,
    put,
    row_of,
    seconds_of,
    write,
)
from vopcli.errors import DataError
from vopcli.files.hdf5 import SegmentFile
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT
from vopcli.frames.store import FrameStore
from vopcli.video.sampling import parse_sampling


@pytest.mark.parametrize("recipe", [RAW, JPEG], ids=["raw", "jpeg"])
def test_what_is_written_is_read_back(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "store.h5"
    write(path, [3, 1, 2], recipe)
    check(path, [1, 2, 3])
    write(path, [5, 4], recipe)
    check(path, [1, 2, 3, 4, 5])
    assert FrameStore.open(path).recipe == recipe


def test_the_layout_is_plain_hdf5(tmp_path: Path) -> None:
    """Another program reads the frames where the rows say they are."""
    path = tmp_path / "store.h5"
    write(path, [1, 2])
    with h5py.File(path) as file:
        group = file["segments/000000"]
        assert file.attrs["format"] == b"vop-frames"
        assert file.attrs["version"] == 4
        assert group["frames"].shape == (2 * FRAMES, SIZE, SIZE, 3)
        row = group["rows"][1]
        names = group["paths"][...].tobytes()
        assert names[row["path"][0] : row["path"][1]] == b"folder/video 2.mp4"
        assert group["status"][...].tobytes() == b"DD"
        first = row["first_frame"]
        np.testing.assert_array_equal(group["frames"][first : first + FRAMES], frames_of(2))
        for frame, seconds, found in zip(
            frames_of(2), seconds_of(2), group["checksums"][first:], strict=False
        ):
            seed = int.from_bytes(seconds.tobytes(), "little")
            assert found == xxhash.xxh3_64_intdigest(frame.tobytes(), seed)


def test_batches_go_into_the_callers_array(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2, 3])
    store = FrameStore.open(path)
    out = np.zeros((4, FRAMES, SIZE, SIZE, 3), np.uint8)
    filled = store.read_batch([store.videos[2], store.videos[0]], out)
    assert filled.shape == (2, FRAMES, SIZE, SIZE, 3)
    assert np.shares_memory(filled, out)
    np.testing.assert_array_equal(out[0], frames_of(3))
    np.testing.assert_array_equal(out[1], frames_of(1))
    assert not out[2:].any()
    with pytest.raises(ValueError, match="takes 4 frames"):
        store.read_batch(store.videos, out[:, :4])
    with pytest.raises(ValueError, match="3 videos"):
        store.read_batch(store.videos, out[:2])


def test_a_reader_may_be_pickled_and_used_after_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2])
    store = FrameStore.open(path)
    store.read(store.videos[0])
    pickled = pickle.dumps((store, store.videos))
    assert len(pickled) < 4000
    again, videos = pickle.loads(pickled)  # noqa: S301
    np.testing.assert_array_equal(again.read(videos[1]), frames_of(2))
    np.testing.assert_array_equal(videos[1].seconds, seconds_of(2))
    child = os.fork()
    if child == 0:
        os._exit(int(not np.array_equal(store.read(store.videos[1]), frames_of(2))))
    assert os.waitpid(child, 0)[1] == 0


def test_videos_of_several_lengths(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    counts = {1: 2, 2: 9, 3: 4}
    with create(path, Recipe(parse_sampling("fps:1"), SIZE)) as writer:
        writer.lay_out([row_of(number) for number in counts], list(counts.values()))
        for place, (number, count) in enumerate(counts.items()):
            put(writer, place, number, count)
    store = FrameStore.open(path)
    for video in store.videos:
        number = video.size - 1000
        assert video.num_frames == counts[number]
        np.testing.assert_array_equal(store.read(video), frames_of(number, counts[number]))


@pytest.mark.parametrize("recipe", [RAW, JPEG], ids=["raw", "jpeg"])
def test_verify_finds_any_flipped_byte_of_frames_and_times(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2, 3], recipe)
    whole = path.read_bytes()
    store = FrameStore.open(path)
    random = np.random.default_rng(0)
    for video in store.videos:
        segment = store.segments[video.segment]
        seconds = segment.columns["seconds"].offset_bytes + video.first_frame * 8
        places = [seconds + int(random.integers(8 * FRAMES))]
        if recipe.codec == "raw":
            column = segment.columns["frames"]
            start = column.offset_bytes + video.first_frame * column.row_bytes
            places += (start + random.integers(0, FRAMES * column.row_bytes, 5)).tolist()
        else:
            ranges = segment.map("frame_ranges")[video.first_frame : video.first_frame + FRAMES]
            start = segment.columns["frame_bytes"].offset_bytes
            places += (start + random.integers(ranges[0, 0], ranges[-1, 1], 5)).tolist()
        for place in places:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << int(random.integers(8))
            path.write_bytes(flipped)
            assert FrameStore.open(path).verify() == [f"the frames of {video.path} are damaged"]


def test_damaged_jpeg_data_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1], JPEG)
    segment = SegmentFile.read(path, FRAME_FORMAT).segments[-1]
    content = bytearray(path.read_bytes())
    start = segment.columns["frame_bytes"].offset_bytes
    content[start : start + 100] = bytes(100)
    path.write_bytes(content)
    store = FrameStore.open(path)
    with pytest.raises(DataError, match=r"frames of folder/video 1\.mp4 in .*store\.h5 are damaged"):
        store.read(store.videos[0])
    ranges = segment.columns["frame_ranges"].offset_bytes
    for span in [(2**62, 2**63 - 1), (-5, -1), (10, 5)]:
        content[ranges : ranges + 16] = np.array(span, "<i8").tobytes()
        path.write_bytes(content)
        store = FrameStore.open(path)
        assert store.verify() == ["the frames of folder/video 1.mp4 are damaged"]
        with pytest.raises(DataError, match="are damaged"):
            store.read(store.videos[0])


@pytest.mark.parametrize("recipe", [RAW, JPEG], ids=["raw", "jpeg"])
def test_a_flipped_bit_of_a_frame_or_its_time_is_an_error_when_it_is_read(
    tmp_path: Path, recipe: Recipe
) -> None:
    path = tmp_path / "store.h5"
    write(path, [1], recipe)
    whole, video = path.read_bytes(), FrameStore.open(path).videos[0]
    segment = SegmentFile.read(path, FRAME_FORMAT).segments[video.segment]
    sizes = {
        "frames": FRAMES * SIZE * SIZE * 3 if recipe is RAW else 0,
        "seconds": FRAMES * 8,
        "checksums": FRAMES * 8,
    }
    if recipe is JPEG:
        sizes["frame_bytes"] = int(segment.map("frame_ranges").max())
    for column, size in sizes.items():
        for offset in range(0, size, max(1, size // 40)):
            damaged = bytearray(whole)
            damaged[segment.columns[column].offset_bytes + offset] ^= 1 << offset % 8
            path.write_bytes(damaged)
            store = FrameStore.open(path)
            with pytest.raises(DataError, match="are damaged"):
                store.read(store.videos[0])
            assert store.verify() == [f"the frames of {video.path} are damaged"]
