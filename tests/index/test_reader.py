"""The index file: what is written comes back, and damage, kills and second writers do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.indexes import META, WIDTH, encoded_video, make_index, new_videos, rewrite_index
from vopcli.errors import BusyError, DataError
from vopcli.files.hdf5 import SegmentFile
from vopcli.index.check import describe, verify
from vopcli.index.reader import FORMAT, VideoIndex
from vopcli.index.writer import EncodedVideo, IndexWriter, create_index
from vopcli.progress import SilentProgress

NAMES = ["a.mp4", "deep/er/ü b.mkv", "line\nbreak.mp4", os.fsdecode(b"not-utf8-\xff.mp4"), "[red]x[/red].mp4"]


def contents(path: Path) -> dict[str, tuple[bytes, bytes, bytes, int]]:
    index = VideoIndex(path)
    found = {}
    for video in index.videos():
        frames, seconds = index.frames_of(video.row)
        key = (index.embedding_of(video.row).tobytes(), frames.tobytes(), seconds.tobytes(), video.num_real)
        assert video.path not in found, "a video is there twice"
        found[video.path] = key
    return found


def expected(names: list[str], encoded: list[EncodedVideo]) -> dict[str, tuple[bytes, bytes, bytes, int]]:
    return {
        name: (item.embedding.tobytes(), item.frames.tobytes(), item.seconds.tobytes(), item.num_real)
        for name, item in zip(names, encoded, strict=True)
    }


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    encoded = make_index(path, NAMES)
    assert contents(path) == expected(NAMES, encoded)
    index = VideoIndex(path)
    assert index.meta == META
    video = next(video for video in index.videos() if video.path == NAMES[1])
    assert (video.root, video.size, video.mtime_ns, video.sha256) == (
        "/videos",
        101,
        10**18 + 1,
        bytes([2] * 32),
    )
    assert video.file == "/videos/deep/er/ü b.mkv"
    assert (video.num_frames, video.num_real, video.duration_seconds) == (3, 3, 3.25)


def test_later_runs_add_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    first = make_index(path, NAMES)
    second = make_index(path, [NAMES[2], "new.mp4"], seed=1)
    assert contents(path) == expected(NAMES, first) | expected([NAMES[2], "new.mp4"], second)
    about = describe(path)
    assert (about["videos"], about["replaced"], about["unfinished"], about["segments"]) == (6, 1, 0, 2)
    assert about["backbone"] == {"weights": "some.safetensors", "fingerprint": "ab" * 32}
    assert verify(path, SilentProgress()) == []


def test_videos_not_finished_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(NAMES))
        writer.add([encoded_video(1)])
        writer.add(
            [replace(encoded_video(3), frames=encoded_video(3).frames[:2], seconds=np.zeros(2), num_real=1)]
        )
    assert sorted(contents(path)) == sorted([NAMES[1], NAMES[3]])
    assert describe(path)["unfinished"] == 3
    assert describe(path)["frames"] == 4
    assert verify(path, SilentProgress()) == []


def test_empty_index(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    assert len(VideoIndex(path)) == 0
    assert list(VideoIndex(path).videos()) == []
    assert verify(path, SilentProgress()) == []
    assert describe(path)["videos"] == 0
    rewrite_index(path, [])
    assert len(VideoIndex(path)) == 0


def test_rewriting_keeps_the_rows_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    first = make_index(path, NAMES)
    second = make_index(path, [NAMES[2], "new.mp4"], seed=1)
    index = VideoIndex(path)
    kept = [video.row for video in index.videos() if video.path not in {NAMES[0], NAMES[3]}]
    path.chmod(0o640)
    rewrite_index(path, kept)
    both = expected(NAMES, first) | expected([NAMES[2], "new.mp4"], second)
    assert contents(path) == {name: item for name, item in both.items() if name not in {NAMES[0], NAMES[3]}}
    assert verify(path, SilentProgress()) == []
    assert (describe(path)["segments"], describe(path)["replaced"]) == (1, 0)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["i.h5"]
    make_index(path, ["after.mp4"])
    assert len(VideoIndex(path)) == 5


@pytest.mark.parametrize("column", ["video_embeddings", "frame_embeddings", "seconds", "rows", "paths"])
def test_any_flipped_bit_is_found(tmp_path: Path, column: str) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, FORMAT).segments
    place = segment.columns[column]
    whole = path.read_bytes()
    step = 1 if column in {"rows", "paths"} else 37
    for offset in range(place.offset_bytes, place.end_bytes, step):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        assert verify(path, SilentProgress()), f"byte {offset - place.offset_bytes} of {column}"
    path.write_bytes(whole)
    assert verify(path, SilentProgress()) == []


def test_damage_is_named_by_video(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    (segment,) = SegmentFile.read(path, FORMAT).segments
    place = segment.columns["video_embeddings"]
    with path.open("r+b") as file:
        file.seek(place.offset_bytes + 1 * place.row_bytes)
        file.write(b"\xff\xff\xc0\x7f")
    (problem,) = verify(path, SilentProgress())
    assert problem.startswith(NAMES[1])


def test_only_one_writer_and_no_reader_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    with IndexWriter(path):
        code = "import sys; from pathlib import Path; from vopcli.index.reader import VideoIndex as V; "
        done = subprocess.run(
            [sys.executable, "-c", code + "V(Path(sys.argv[1]))", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "in use by another process" in done.stderr
        with pytest.raises(BusyError, match="in use by another process"):
            IndexWriter(path)
        with pytest.raises(BusyError, match="in use by another process"):
            rewrite_index(path, [])
    assert len(VideoIndex(path)) == 5


def test_files_that_are_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        VideoIndex(tmp_path / "none.h5")
    with pytest.raises(DataError, match="folder"):
        VideoIndex(tmp_path)
    (tmp_path / "text.h5").write_text("hello\n" * 1000)
    with pytest.raises(DataError, match="not an HDF5 file"):
        VideoIndex(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="another program"):
        VideoIndex(tmp_path / "other.h5")


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"truncated|damaged"):
            VideoIndex(path)


def test_attributes_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "pooling.h5"
    create_index(path, replace(META, pooling="max"))
    with pytest.raises(DataError, match="pooling 'max'"):
        VideoIndex(path)
    path = tmp_path / "width.h5"
    create_index(path, replace(META, embed_dim=WIDTH))
    make_index(path, NAMES)
    with h5py.File(path, "r+") as file:
        file.attrs["attributes"] = file.attrs["attributes"].replace(
            f'"embed_dim": {WIDTH}', '"embed_dim": 39'
        )
    with pytest.raises(DataError, match="shape"):
        VideoIndex(path)
    with h5py.File(path, "r+") as file:
        file.attrs["attributes"] = "{}"
    with pytest.raises(DataError, match="which model"):
        VideoIndex(path)


def test_video_that_does_not_fit_its_room(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    with IndexWriter(path) as writer:
        with pytest.raises(ValueError, match="lay_out comes first"):
            writer.add([encoded_video(0)])
        writer.lay_out(new_videos(NAMES))
        with pytest.raises(ValueError, match="room 3"):
            writer.add([encoded_video(0, num_frames=4, num_real=4)])
        with pytest.raises(ValueError, match="0 real"):
            writer.add([encoded_video(0, num_real=0)])


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A writer says what is done and is killed: all of that is there, whole, and the file goes on."""
    path = tmp_path / "i.h5"
    make_index(path, ["kept.mp4"])
    script = f"""
        from pathlib import Path
        from tests.support.indexes import encoded_video, new_videos
        from vopcli.index.writer import IndexWriter

        names = [f"{{number:04d}}.mp4" for number in range(3000)]
        with IndexWriter(Path({str(path)!r})) as writer:
            writer.lay_out(new_videos(names))
            for slot in range(0, 3000, 3):
                writer.add([encoded_video(slot + i) for i in range(3)])
                print(slot + 3, flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        said = 0
        while said < 60:
            said = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        said = int([str(said).encode(), *child.stdout.read().split()][-1])
    found = contents(path)
    names = [f"{number:04d}.mp4" for number in range(said)]
    assert set(found) >= {"kept.mp4", *names}
    assert len(found) <= 1 + said + 3
    wanted = expected(names, [encoded_video(slot) for slot in range(said)])
    assert {name: found[name] for name in names} == wanted
    assert verify(path, SilentProgress()) == []
    make_index(path, ["after.mp4"])
    assert len(VideoIndex(path)) == len(found) + 1
