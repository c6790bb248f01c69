from __future__ import annotations

import os
import pickle
import signal
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from vopcli.errors import BusyError, DataError, FileError
from vopcli.files.hdf5 import SegmentFile, create_segment_file
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status, cut_text
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.video.sampling import parse_sampling
from vopcli.video.video_file import VideoFile, relocate

SIZE, FRAMES = 32, 5
RAW = Recipe(parse_sampling("uniform:5"), SIZE)
JPEG = Recipe(parse_sampling("uniform:5"), SIZE, codec="jpeg")


def frames_of(number: int, count: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def jpegs_of(number: int, count: int = FRAMES, quality: int = 95) -> list[np.ndarray]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return [
        cv2.imencode(".jpg", frame[:, :, ::-1], options)[1].reshape(-1) for frame in frames_of(number, count)
    ]


def seconds_of(number: int, count: int = FRAMES) -> np.ndarray:
    return np.arange(count) * 0.1 + number


def row_of(number: int, name: str = "") -> Row:
    return Row(
        status=Status.PENDING,
        path=name or f"folder/video {number}.mp4",
        root="/videos",
        size=1000 + number,
        mtime_ns=10**18 + number,
        sha256=bytes([number + 1] * 32),
        duration_seconds=12.5 + number,
        fps=29.97,
        width=640,
        height=360,
        rotation_degrees=90,
        num_real=FRAMES - 1,
        num_bad_packets=number,
    )


def put(writer: FrameStoreWriter, place: int, number: int, count: int = FRAMES) -> None:
    frames: Any = frames_of(number, count) if writer.recipe.codec == "raw" else jpegs_of(number, count)
    writer.put_frames(place, row_of(number), frames, seconds_of(number, count))


def create(path: Path, recipe: Recipe) -> FrameStoreWriter:
    create_store(path, recipe)
    return FrameStoreWriter(path)


def write(path: Path, numbers: list[int], recipe: Recipe = RAW, finish: int | None = None) -> None:
    """Add videos in one run, and finish all of them, or only the first few."""
    opened = FrameStoreWriter(path) if path.exists() else create(path, recipe)
    with opened as writer:
        writer.lay_out([row_of(number) for number in numbers], [FRAMES] * len(numbers))
        for place, number in list(enumerate(numbers))[:finish]:
            put(writer, place, number)


def check(path: Path, numbers: list[int]) -> None:
    """Compare everything that is stored."""
    store = FrameStore.open(path)
    assert [video.path for video in store.videos] == sorted(row_of(number).path for number in numbers)
    assert store.num_damaged_rows == 0
    assert store.verify() == []
    for video in store.videos:
        number = video.size - 1000
        row = row_of(number)
        for name in [
            "path",
            "root",
            "size",
            "mtime_ns",
            "sha256",
            "duration_seconds",
            "fps",
            "width",
            "height",
        ]:
            assert getattr(video, name) == getattr(row, name)
        assert (video.rotation_degrees, video.num_real, video.num_bad_packets) == (90, FRAMES - 1, number)
        np.testing.assert_array_equal(video.seconds, seconds_of(number))
        np.testing.assert_array_equal(store.read(video), expected_frames(number, store.recipe))


def expected_frames(number: int, recipe: Recipe) -> np.ndarray:
    if recipe.codec == "raw":
        return frames_of(number)
    return np.stack([cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1] for jpeg in jpegs_of(number)])


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
        assert file.attrs["format"] == "vop-frames"
        assert file.attrs["version"] == 2
        assert group["frames"].shape == (2 * FRAMES, SIZE, SIZE, 3)
        row = group["rows"][1]
        names = group["paths"][...].tobytes()
        assert names[row["path"][0] : row["path"][1]] == b"folder/video 2.mp4"
        assert group["status"][...].tobytes() == b"DD"
        first = row["first_frame"]
        np.testing.assert_array_equal(group["frames"][first : first + FRAMES], frames_of(2))
        crc = zlib.crc32(frames_of(2).tobytes(), zlib.crc32(seconds_of(2).tobytes()))
        assert row["frames_crc32"] == crc


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


def test_failures_and_names_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        writer.lay_out([row_of(1), row_of(2), row_of(3)], [FRAMES, FRAMES, 0])
        put(writer, 0, 1)
        failed = replace(row_of(2), status=Status.FAILED, error="is a poem: ü" + "ä" * 200)
        writer.put_row(1, failed)
    store = FrameStore.open(path)
    assert [video.path for video in store.videos] == [row_of(1).path]
    assert store.failures == [(row_of(2).path, "is a poem: ü" + "ä" * 93)]
    assert store.num_unfinished == 1
    with FrameStoreWriter(path) as writer:
        done = writer.known[row_of(1).path]
        moved = relocate(done, VideoFile("/elsewhere", "new.mp4", 7, 8))
        gone = replace(row_of(1), status=Status.GONE)
        writer.lay_out([moved, gone], [0, 0])
    store = FrameStore.open(path)
    assert [(video.path, video.root) for video in store.videos] == [("new.mp4", "/elsewhere")]
    np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))


def test_cut_text() -> None:
    assert cut_text("short") == b"short"
    assert cut_text("x" + "ü" * 200) == ("x" + "ü" * 99).encode()
    assert cut_text("a\0b\udcff") == rb"a\0b\udcff"


def test_the_last_thing_said_of_a_video_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with FrameStoreWriter(path) as writer:
        changed = row_of(7, name=row_of(1).path)
        writer.lay_out([changed], [FRAMES])
        writer.put_frames(0, changed, frames_of(7), seconds_of(7))
    (video,) = FrameStore.open(path).videos
    np.testing.assert_array_equal(FrameStore.open(path).read(video), frames_of(7))
    write(path, [1], finish=0)  # planned only: what was there before still holds
    (video,) = FrameStore.open(path).videos
    assert video.size == 1007


# Room


def slots(path: Path) -> list[int]:
    return [segment.columns["frames"].shape[0] for segment in SegmentFile.read(path, FRAME_FORMAT).segments]


def test_room_that_an_unfinished_run_took_is_used_first(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, list(range(10)), finish=3)
    assert slots(path) == [10 * FRAMES]
    size = path.stat().st_size
    write(path, list(range(3, 10)))
    assert slots(path) == [10 * FRAMES, 0]
    assert path.stat().st_size < size + 20_000
    check(path, list(range(10)))
    write(path, [10, 11])
    assert slots(path) == [10 * FRAMES, 0, 2 * FRAMES]
    check(path, list(range(12)))


def test_room_of_failed_videos_is_used_too_but_never_that_of_stored_ones(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        writer.lay_out([row_of(number) for number in range(4)], [FRAMES] * 4)
        put(writer, 3, 3)
        for number in (0, 1):
            writer.put_row(number, replace(row_of(number), status=Status.FAILED, error="no"))
    write(path, [5, 6, 7, 8])
    assert slots(path) == [4 * FRAMES, FRAMES]
    check(path, [3, 5, 6, 7, 8])


def test_odd_lengths_that_do_not_fit_the_rest_of_a_segment_get_another(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, Recipe(parse_sampling("fps:1"), SIZE)) as writer:
        writer.lay_out([row_of(1), row_of(2), row_of(3)], [4, 3, 3])
        assert writer.num_free == [10]
        put(writer, 1, 2, 3)
        put(writer, 0, 1, 8)  # longer than was planned
        put(writer, 2, 3, 3)
    store = FrameStore.open(path)
    assert store.verify() == []
    assert [video.num_frames for video in store.videos] == [8, 3, 3]


def test_jpeg_files_that_need_more_room_than_was_guessed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, list(range(12)), JPEG)  # noise takes five times as much as pictures do
    contents = SegmentFile.read(path, FRAME_FORMAT)
    assert 2 <= len(contents.segments) <= 4
    used = sum(jpeg.size for number in range(12) for jpeg in jpegs_of(number))
    assert used <= sum(segment.columns["frame_bytes"].shape[0] for segment in contents.segments) < 1.6 * used
    check(path, list(range(12)))


# Damage


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


def test_a_flipped_bit_in_a_row_is_never_believed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2])
    whole = path.read_bytes()
    segment = SegmentFile.read(path, FRAME_FORMAT).segments[0]
    good = FrameStore.open(path).videos
    for name in ("rows", "status", "paths"):
        column = segment.columns[name]
        for place in range(column.offset_bytes, column.end_bytes, 3 if name == "rows" else 1):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 8
            path.write_bytes(flipped)
            store = FrameStore.open(path)
            assert store.num_damaged_rows >= 1
            assert set(map(repr, store.videos)) < set(map(repr, good))
            assert "damaged" in store.verify()[0]


def test_frames_outside_of_the_file_are_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create(path, RAW) as writer:
        rows = [
            Row(
                status=Status.DONE,
                path=f"{segment} {first} {count}",
                root="/",
                size=1,
                mtime_ns=1,
                frames_segment=segment,
                first_frame=first,
                num_frames=count,
            )
            for segment, first, count in [
                (1, 0, 1),
                (-1, 0, 1),
                (0, 2, 4),
                (0, -1, 2),
                (0, 0, 0),
                (0, 2**62, 5),
            ]
        ]
        writer.lay_out([*rows, row_of(1)], [0] * len(rows) + [FRAMES])
        put(writer, len(rows), 1)
    store = FrameStore.open(path)
    assert [video.path for video in store.videos] == [row_of(1).path]
    assert store.num_damaged_rows == len(rows)
    write(path, [2])
    assert {row_of(1).path, row_of(2).path} <= {video.path for video in FrameStore.open(path).videos}


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


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"recipe": None},
        {"recipe": {"sampling": "uniform:5", "size": 32, "resize": "x"}},
        {"recipe": {"sampling": 5, "size": 32, "resize": "x", "codec": "raw"}},
        {"recipe": {"sampling": "uniform:5", "size": 10**9, "resize": "x", "codec": "raw"}},
        {"recipe": {"sampling": "uniform:5", "size": 32, "resize": "x", "codec": "gif"}},
    ],
)
def test_a_store_without_a_whole_recipe_is_damaged(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = tmp_path / "store.h5"
    create_segment_file(path, FRAME_FORMAT, attributes)
    for opening in (FrameStore.open, FrameStoreWriter):
        with pytest.raises(DataError, match="has no valid recipe"):
            opening(path)


def test_columns_of_odd_shapes_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with h5py.File(path, "r+") as file:
        del file["segments/000000/seconds"]
        file["segments/000000"].create_dataset("seconds", data=np.zeros(FRAMES - 1))
    for opening in (FrameStore.open, FrameStoreWriter):
        with pytest.raises(DataError, match="segment 0 has inconsistent columns"):
            opening(path)


# Kills and other processes


def test_a_kill_at_any_write_loses_at_most_the_video_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.h5"
    monkeypatch.setattr(os, "fdatasync", lambda _: None)  # slow, and a kill knows no difference
    write(path, [1])
    base = path.read_bytes()
    counts = set()
    for at in range(200):
        path.write_bytes(base)
        child = os.fork()
        if child == 0:
            _die_at_call(monkeypatch, at)
            write(path, [2, 3])
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        found = [video.size - 1000 for video in FrameStore.open(path).videos]
        counts.add(len(found))
        assert found == [1, 2, 3][: len(found)]
        check(path, found)
        write(path, [number for number in [2, 3] if number not in found])
        check(path, [1, 2, 3])
        assert sum(slots(path)) == 3 * FRAMES
    assert at > 25
    assert counts == {1, 2}  # nothing is written after the last row


def _die_at_call(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    left = [at]

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            if left[0] == 0:
                if name == "pwrite":  # half of it
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], arguments[2])
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments)

        return wrapped

    for name in ("pwrite", "ftruncate", "posix_fallocate", "fdatasync"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))


def test_frames_are_on_the_disk_before_the_row_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ordering that a power cut would show, and no kill can."""
    path = tmp_path / "store.h5"
    calls: list[str] = []
    with create(path, RAW) as writer:
        writer.lay_out([row_of(1)], [FRAMES])
        real_write = writer._file.write
        real_sync = writer._file.sync
        monkeypatch.setattr(writer._file, "write", lambda *a: (calls.append(a[1]), real_write(*a)))
        monkeypatch.setattr(writer._file, "sync", lambda: (calls.append("sync"), real_sync()))
        put(writer, 0, 1)
    assert calls == ["frames", "seconds", "sync", "rows", "status"]


def test_a_store_in_use_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1])
    with FrameStoreWriter(path):
        for opening in (FrameStore.open, FrameStoreWriter):
            with pytest.raises(BusyError, match=r"store\.h5 is in use by another process"):
                opening(path)
    with pytest.raises(FileError, match="exists already"):
        create(path, RAW)


def test_a_reader_that_opened_before_reads_on_while_a_writer_adds(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, [1, 2], finish=1)
    store = FrameStore.open(path)
    with FrameStoreWriter(path) as writer:
        writer.lay_out([row_of(2), row_of(3)], [FRAMES, FRAMES])
        put(writer, 0, 2)
        np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))
        put(writer, 1, 3)
        np.testing.assert_array_equal(store.read(store.videos[0]), frames_of(1))
    check(path, [1, 2, 3])


def test_a_recipe_that_nobody_can_read(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    attributes = {"recipe": RAW.to_json() | {"sampling": "now and then"}}
    create_segment_file(path, FRAME_FORMAT, attributes)
    with pytest.raises(DataError, match="has no valid recipe"):
        FrameStore.open(path)
