"""``vop info``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.extracting import make_bad_video, make_videos, run, told
from vopcli.cli.app import app
from vopcli.cli.info import describe_file
from vopcli.errors import DataError, FileError
from vopcli.files.hdf5 import FileFormat
from vopcli.files.hdf5_writer import create_segment_file
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status
from vopcli.frames.store import FrameStore
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.progress import SilentProgress
from vopcli.resources import packaged_file
from vopcli.video.sampling import parse_sampling


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = make_videos(tmp_path / "videos", 2)
    make_bad_video(folder)
    run(folder, tmp_path / "out.h5")
    return tmp_path / "out.h5"


def test_a_frame_store(store: Path) -> None:
    code, out, err = told("info", store)
    assert (code, err) == (0, "")
    lines = dict(line.split("\t") for line in out.splitlines())
    assert lines["kind"] == "vop-frames"
    assert lines["videos"] == "2"
    assert lines["frames"] == "24"
    assert lines["recipe.sampling"] == "uniform:12"
    assert lines["failed"].startswith("text.mp4: not a video")


def test_verify_finds_a_flipped_byte_and_names_the_video(store: Path) -> None:
    code, out, err = told("info", store, "--verify")
    assert (code, err.splitlines()[-1]) == (0, f"{store} is intact")
    code, out, err = told("info", store, "--verify", "--quiet", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["problems"] == []
    assert [item["video"] for item in document["failed"]] == ["text.mp4"]

    opened = FrameStore.open(store)
    video = opened.videos[1]
    column = opened.segments[video.segment].columns["frames"]
    content = bytearray(store.read_bytes())
    content[column.offset_bytes + video.first_frame * column.row_bytes + 1234] ^= 4
    store.write_bytes(content)
    code, out, err = told("info", store, "--verify", "--quiet", "--json")
    assert code == 3
    assert json.loads(out)["problems"] == ["the frames of sub/1.avi are damaged"]
    assert f"Error: {store} is damaged: the frames of sub/1.avi are damaged\nHint: " in err
    assert told("info", store)[0] == 0  # nothing was read that is damaged


def test_what_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in [
        ("notes.txt", "is not a frame store, index, adapter or weights"),
        ("nowhere", "does not exist"),
    ]:
        code, out, err = told("info", tmp_path / name)
        assert (code, out) == (3, "")
        assert message in err.splitlines()[0]
        assert err.splitlines()[1].startswith("Hint: ")


def test_the_description_of_a_frame_store(tmp_path: Path) -> None:
    folder = make_videos(tmp_path / "videos", 3)
    make_bad_video(folder)
    store = tmp_path / "out.h5"
    run(folder, store, num_frames=20)
    found = describe_file(store, SilentProgress(), verify=True)
    assert found.problems == []
    failed = found.description.pop("failed")
    assert [item["video"] for item in failed] == ["text.mp4"]
    seconds = found.description.pop("duration_seconds")
    assert seconds == pytest.approx((14 + 15 + 16) / 25)
    assert found.description == {
        "kind": "vop-frames",
        "path": str(store),
        "size_bytes": store.stat().st_size,
        "disk_bytes": store.stat().st_blocks * 512,
        "recipe": {
            "sampling": "uniform:20",
            "size": 32,
            "resize": "bicubic",
            "codec": "raw",
            "windows": "auto",
            "decode": "exact",
            "fit": "crop",
        },
        "segments": 1,
        "videos": 3,
        "windows": 0,
        "frames": 60,
        "repeated_frames": 60 - (14 + 15 + 16),
        "videos_with_window": 0,
        "videos_with_bad_packets": 0,
        "free_frames": 0,
        "unfinished": 0,
        "damaged_rows": 0,
    }


def test_an_unfinished_store_is_no_damage(tmp_path: Path) -> None:
    store = tmp_path / "out.h5"
    create_store(store, Recipe(parse_sampling("uniform:2"), 16))
    with FrameStoreWriter(store) as writer:
        rows = [Row("/", name, 1, 1, status=Status.PENDING) for name in ("a", "b")]
        writer.lay_out(rows, [2, 2])
        writer.put_frames(1, rows[1], np.zeros((2, 16, 16, 3), np.uint8), np.zeros(2))
    found = describe_file(store, SilentProgress(), verify=True)
    assert (found.description["videos"], found.description["unfinished"], found.problems) == (1, 1, [])
    column = writer._file.contents.segments[0].columns["rows"]
    content = bytearray(store.read_bytes())
    content[column.offset_bytes + column.row_bytes + 3] ^= 1  # in the row of b
    store.write_bytes(content)
    assert describe_file(store, SilentProgress(), verify=True).problems == ["1 rows are damaged"]


@pytest.mark.skipif(
    not packaged_file("demo/demo-tiny.safetensors").exists(), reason="the demo's weights are not there"
)
def test_weights() -> None:
    found = describe_file(packaged_file("demo/demo-tiny.safetensors"), SilentProgress())
    assert found.description["kind"] == "weights"
    assert len(found.description["fingerprint"]) == 64
    done = CliRunner().invoke(app, ["info", str(packaged_file("demo/demo-tiny.safetensors"))])
    assert done.exit_code == 0, done.stderr
    assert re.search(r"pixel_mean\s+0\.48\S*, 0\.45\S*, 0\.40", done.stdout)


def test_hdf5_files_of_others(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = np.arange(3)
    with pytest.raises(DataError, match=r"plain\.h5 is an HDF5 file of another program"):
        describe_file(tmp_path / "plain.h5", SilentProgress())
    create_segment_file(tmp_path / "new.h5", FileFormat("vop-run", 1, {}, ""), {})
    with pytest.raises(DataError, match=r"new\.h5 is an HDF5 file of the unknown format vop-run"):
        describe_file(tmp_path / "new.h5", SilentProgress())
    create_segment_file(tmp_path / "v9.h5", FileFormat("vop-frames", 9, FRAME_FORMAT.columns, ""), {})
    with pytest.raises(DataError, match="has vop-frames version 9; this program reads 4"):
        describe_file(tmp_path / "v9.h5", SilentProgress())


@pytest.mark.parametrize("size", [4, 5000, 66_000, 70_000])
def test_a_truncated_store(tmp_path: Path, size: int) -> None:
    store = tmp_path / "out.h5"
    run(make_videos(tmp_path / "videos", 1), store)
    store.write_bytes(store.read_bytes()[:size])
    with pytest.raises(DataError, match=r"out\.h5"):
        describe_file(store, SilentProgress())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere does not exist"):
        describe_file(tmp_path / "nowhere", SilentProgress())


def test_neither_a_store_nor_its_making_loads_torch(tmp_path: Path) -> None:
    folder = make_videos(tmp_path / "videos", 2)
    code = f"""
import sys
from pathlib import Path
from tests.support.extracting import run
from vopcli.cli.info import describe_file
from vopcli.progress import SilentProgress
if __name__ == "__main__":
    run(Path({str(folder)!r}), Path({str(tmp_path / "out.h5")!r}), workers=1)
    describe_file(Path({str(tmp_path / "out.h5")!r}), SilentProgress(), verify=True)
    print(sorted(name for name in sys.modules if name in ("torch", "torchvision", "timm", "rich")))
"""
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, tmp_path / "script.py"]
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=repository, env={"PYTHONPATH": str(repository)}
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
