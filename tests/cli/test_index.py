"""``vop index``: list and remove videos."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.support.indexes import NAMES, contents, encoded_video, expected, make_index
from vopcli.cli.app import app
from vopcli.index.writer import IndexWriter, NewVideo
from vopcli.video.video_file import TimeWindow, VideoFile


def vop(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["index", *arguments])


def add_long(path: Path) -> None:
    """Add a video of two windows of 3 frames, with 3 frames of its own."""
    windows = [TimeWindow(0.0, 2.0), TimeWindow(2.0, 4.0), TimeWindow(0.0, 4.0)]
    rows = [
        NewVideo("/videos", "long.mp4", 9, 9, num_frames=3, window=window, is_part=number < 2)
        for number, window in enumerate(windows)
    ]
    with IndexWriter(path) as writer:
        writer.lay_out(rows)
        writer.add([encoded_video(slot) for slot in range(3)])
        writer.note_failures([(VideoFile("/videos", "bad.mp4", 1, 1), "not a video")])


def test_videos_are_listed_with_windows_and_frames(tmp_path: Path) -> None:
    make_index(tmp_path / "i.h5", ["b.mp4", "a.mp4"])
    add_long(tmp_path / "i.h5")
    rows = [line.split("\t") for line in vop("ls", "i.h5").stdout.splitlines()]
    assert rows == [["3.2", "0", "3", "a.mp4"], ["3.2", "0", "3", "b.mp4"], ["3.2", "2", "9", "long.mp4"]]
    document = json.loads(vop("ls", "i.h5", "--json").stdout)
    assert [video["path"] for video in document["videos"]] == ["a.mp4", "b.mp4", "long.mp4"]
    assert document["videos"][2] == {
        "path": "long.mp4",
        "file": "/videos/long.mp4",
        "duration_seconds": 3.25,
        "windows": 2,
        "frames": 9,
    }
    assert document["failed"] == [{"path": "bad.mp4", "reason": "not a video"}]


def test_removed_videos_are_gone_with_their_windows(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    kept = expected(NAMES, make_index(path, NAMES))
    add_long(path)
    result = vop("rm", "i.h5", "long.mp4", f"/videos/{NAMES[1]}", NAMES[0], "long.mp4")
    assert (result.exit_code, result.stderr) == (0, "i.h5: 3 videos (3 removed)\n")
    assert contents(path) == {name: kept[name] for name in NAMES[2:]}
    assert len(json.loads(vop("ls", "i.h5", "--json").stdout)["videos"]) == 3
    before = path.read_bytes()
    refused = vop("rm", "i.h5", NAMES[2], "gone.mp4")
    assert (refused.exit_code, "has no video gone.mp4" in refused.stderr) == (2, True)
    assert path.read_bytes() == before
