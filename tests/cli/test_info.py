from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.extracting import make_bad_video, make_videos, run, vop
from vopcli.frames.store import FrameStore


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = make_videos(tmp_path / "videos", 2)
    make_bad_video(folder)
    run(folder, tmp_path / "out.h5")
    return tmp_path / "out.h5"


def test_a_frame_store(store: Path) -> None:
    code, out, err = vop("info", store)
    assert (code, err) == (0, "")
    lines = dict(line.split("\t") for line in out.splitlines())
    assert lines["kind"] == "vop-frames"
    assert lines["videos"] == "2"
    assert lines["frames"] == "24"
    assert lines["recipe.sampling"] == "uniform:12"
    assert lines["failed"].startswith("text.mp4: not a video")


def test_verify_finds_a_flipped_byte_and_names_the_video(store: Path) -> None:
    code, out, err = vop("info", store, "--verify")
    assert (code, err.splitlines()[-1]) == (0, f"{store} is sound")
    code, out, err = vop("info", store, "--verify", "--quiet", "--json")
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
    code, out, err = vop("info", store, "--verify", "--quiet", "--json")
    assert code == 3
    assert json.loads(out)["problems"] == ["the frames of sub/1.avi are damaged"]
    assert f"Error: {store} is damaged: the frames of sub/1.avi are damaged\nHint: " in err
    assert vop("info", store)[0] == 0  # nothing was read that is damaged


def test_what_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in [
        ("notes.txt", "is no frame store, index or adapter, nor weights"),
        ("nowhere", "does not exist"),
    ]:
        code, out, err = vop("info", tmp_path / name)
        assert (code, out) == (3, "")
        assert message in err.splitlines()[0]
        assert err.splitlines()[1].startswith("Hint: ")
