"""Videos that appear in a watched folder are found by the page, and the page says how far it is."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tests.support.models import write_model
from tests.support.videos import make_video
from tests.support.web import make_site
from vopcli.cli.app import app
from vopcli.index.reader import VideoIndex
from vopcli.web.app import create_app
from vopcli.web.watch import Watcher


def wait_for(is_true: Callable[[], bool], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of a folder with one video, by `vop encode`."""
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos/old.mp4", num_frames=10)
    weights = write_model(tmp_path / "tiny.safetensors")
    path = tmp_path / "videos/.vop/index.h5"
    path.parent.mkdir()
    options = ("--weights", str(weights), "--workers", "0", "--quiet")
    done = CliRunner().invoke(app, ["encode", str(tmp_path / "videos"), str(path), *options])
    assert done.exit_code == 0, done.stderr
    return path


def paths_of(index: Path) -> set[str]:
    videos = VideoIndex(index)
    return {videos.path_of(row) for row in videos.rows()}


@pytest.mark.slow
def test_new_and_damaged_videos_are_encoded_once_they_are_there(index: Path, tmp_path: Path) -> None:
    log: list[str] = []
    with Watcher(tmp_path / "videos", index, log.append) as watcher:
        wait_for(lambda: len(log) == 1)
        assert watcher.state == ""
        make_video(tmp_path / "new.mp4", num_frames=10).rename(tmp_path / "videos/new.mp4")
        wait_for(lambda: len(log) == 2)
        assert "new.mp4" in paths_of(index)
        (tmp_path / "videos/new.mp4").unlink()
        wait_for(lambda: len(log) == 3)
        assert paths_of(index) == {"old.mp4"}
        (tmp_path / "videos/notes.txt").write_text("not a video")
        (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
        wait_for(lambda: len(log) == 5)
        assert log[3].startswith("Failed: ")
        assert "broken.mp4" in log[3]
        assert watcher.state == log[3]
        index.write_bytes(b"no index")
        (tmp_path / "videos/broken.mp4").write_bytes(b"none either")
        wait_for(lambda: len(log) == 6)
        assert watcher.state.startswith("Error: ")
        assert log[-1].endswith(watcher.state)


@pytest.mark.slow
def test_a_server_that_stops_ends_the_process(index: Path, tmp_path: Path) -> None:
    with Watcher(tmp_path / "videos", index, print) as watcher:
        wait_for(lambda: watcher._process is not None)
    assert watcher._process is not None
    assert watcher._process.poll() is not None


def test_a_folder_that_cannot_be_watched_is_told(tmp_path: Path) -> None:
    log: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with Watcher(tmp_path / "gone", tmp_path / "idx.h5", log.append) as watcher:
        with pytest.raises(SystemExit):  # not the end of the process without `__exit__`
            signal.raise_signal(signal.SIGTERM)
        wait_for(lambda: bool(log))
        assert watcher.state.startswith(f"Error: {tmp_path / 'gone'} is no longer watched: ")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_page_says_how_far_it_is(site_index: Path, tmp_path: Path) -> None:
    site, _ = make_site(site_index)
    client = TestClient(create_app(site), base_url="http://127.0.0.1:8000")
    assert "watching" not in client.get("/").text
    assert client.get("/api/info").json()["watching"] is None

    site.watcher = Watcher(tmp_path, site_index, print)
    site.watcher.state = "encode: 3/15 <windows>"
    assert "encode: 3/15 &lt;windows&gt;" in client.get("/").text
    assert client.get("/api/info").json()["watching"] == {
        "folder": str(tmp_path),
        "state": site.watcher.state,
    }
    site.watcher.state = ""
    assert "All videos are indexed" in client.get("/").text
