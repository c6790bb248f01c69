"""Writing an index: what is added counts once it is on the disk, and kills and second writers do no harm."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.indexes import (
    META,
    NAMES,
    contents,
    encoded_video,
    expected,
    make_index,
    new_videos,
    rewrite_index,
)
from tests.support.system_calls import replaced
from vopcli.errors import BusyError
from vopcli.files.journal import HEAD_BYTES
from vopcli.index.check import describe_index, verify_index
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.progress import SilentProgress


def test_later_runs_add_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    first = make_index(path, NAMES)
    second = make_index(path, [NAMES[2], "new.mp4"], seed=1)
    assert contents(path) == expected(NAMES, first) | expected([NAMES[2], "new.mp4"], second)
    about = describe_index(path)
    assert (about["videos"], about["replaced"], about["unfinished"], about["segments"]) == (6, 1, 0, 2)
    assert about["backbone"] == {"weights": "some.safetensors", "fingerprint": "ab" * 32}
    assert verify_index(path, SilentProgress()) == []


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
    assert verify_index(path, SilentProgress()) == []
    assert (describe_index(path)["segments"], describe_index(path)["replaced"]) == (1, 0)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["i.h5"]
    make_index(path, ["after.mp4"])
    assert len(VideoIndex(path)) == 5


def test_only_one_writer_and_readers_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    make_index(path, NAMES)
    with IndexWriter(path):
        code = "import sys; from pathlib import Path; from vopcli.index.reader import VideoIndex as V; "
        subprocess.run(
            [sys.executable, "-c", code + "assert len(V(Path(sys.argv[1]))) == 5", path], check=True
        )
        with pytest.raises(BusyError, match="in use by another process"):
            IndexWriter(path)
        with pytest.raises(BusyError, match="in use by another process"):
            rewrite_index(path, [])
    assert len(VideoIndex(path)) == 5


def test_video_that_does_not_fit_its_room(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    with IndexWriter(path) as writer:
        with pytest.raises(ValueError, match="call lay_out first"):
            writer.add([encoded_video(0)])
        writer.lay_out(new_videos(NAMES))
        with pytest.raises(ValueError, match="space for 3"):
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
    assert verify_index(path, SilentProgress()) == []
    make_index(path, ["after.mp4"])
    assert len(VideoIndex(path)) == len(found) + 1


def test_data_is_on_the_disk_before_a_video_counts(tmp_path: Path) -> None:
    """After a power cut, a row that counts has its data: the disk must be waited for in between."""
    path = tmp_path / "i.h5"
    make_index(path, [NAMES[1]])
    events: list[str] = []
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(NAMES[:2]))
        statuses = [segment.columns["status"] for segment in writer.current().segments]

        def event(data: bytes, offset: int) -> str:
            is_status = any(column.offset_bytes <= offset < column.end_bytes for column in statuses)
            return (
                "head" if offset < HEAD_BYTES else f"status {bytes(data).decode()}" if is_status else "data"
            )

        def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any) -> Any:
                events.append(event(*arguments[1:]) if name == "pwrite" else "sync")
                return call(*arguments)

            return wrapped

        with replaced(noted, ["pwrite", "fdatasync"]):
            writer.add([encoded_video(0), encoded_video(1)])
    in_order = [event for event, _ in itertools.groupby(events)]
    # D: done, R: replaced; both are in the journal, at the head, before the first of them is written.
    journal, applied = ["head", "sync"], ["status DD", "status R", "head", "sync"]
    assert in_order == ["data", "sync", *journal, *applied, "head", "sync"]
