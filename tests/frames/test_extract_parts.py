"""Long videos: their windows are stored as they are decoded, and an interrupted film is resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.extracting import REPOSITORY, run
from tests.support.progress import Counting, Interrupting
from tests.support.videos import make_video, run_ffmpeg
from vopcli.cli.info import describe_file
from vopcli.config.schema import DataConfig
from vopcli.errors import DataError
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import read_frames
from vopcli.video.video_file import WHOLE
from vopcli.video.windows import WindowRule


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "film.mp4", "-g", "10", num_frames=100, fps="10")
    make_video(tmp_path / "videos" / "short.mp4", num_frames=20, fps="10")
    return tmp_path / "videos"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.mark.parametrize(("workers", "codec"), [(0, "raw"), (2, "raw"), (0, "jpeg")])
def test_a_long_video_has_its_windows_too(folder: Path, store: Path, workers: int, codec: str) -> None:
    summary = run(folder, store, windows="2", num_frames=4, workers=workers, codec=codec)
    assert (summary.num_new, summary.num_frames) == (2, 4 * 7)

    opened = FrameStore.open(store)
    assert [(video.path, video.window) for video in opened.videos] == [
        ("film.mp4", WHOLE),
        ("short.mp4", WHOLE),
    ]
    film, short = opened.videos
    assert opened.parts_of(short) == []
    parts = opened.parts_of(film)
    assert [part.window for part in parts] == list(WindowRule(2.0).windows(10.0))[:-1]
    assert {part.sha256 for part in parts} == {film.sha256}
    assert len({part.content_sha256 for part in [film, *parts]}) == 6
    for video in [film, *parts]:
        alone = read_frames(video.file, parse_sampling("uniform:4"), size=32, window=video.window)
        np.testing.assert_array_equal(video.seconds, alone.seconds)
        if codec == "raw":
            np.testing.assert_array_equal(opened.read(video), alone.frames)
    assert opened.verify() == []
    assert run(folder, store).num_unchanged == 2


def test_other_windows_are_refused(folder: Path, store: Path) -> None:
    run(folder, store, windows="2")
    with pytest.raises(DataError, match=r"out\.h5 holds windows 2, not 3"):
        run(folder, store, windows="3")
    assert FrameStore.open(store).recipe.windows == WindowRule(2.0)


def test_renamed_and_copied_films_keep_their_windows(folder: Path, store: Path) -> None:
    run(folder, store, windows="2", num_frames=4)
    before = FrameStore.open(store)
    expected = [before.read(part) for part in before.parts_of(before.videos[0])]

    (folder / "film.mp4").rename(folder / "renamed.mp4")
    shutil.copyfile(folder / "renamed.mp4", folder / "second.mp4")
    summary = run(folder, store)
    assert (summary.num_renamed, summary.num_copies, summary.num_frames) == (1, 1, 0)

    opened = FrameStore.open(store)
    assert [video.path for video in opened.videos] == ["renamed.mp4", "second.mp4", "short.mp4"]
    for film in opened.videos[:2]:
        parts = opened.parts_of(film)
        assert {part.path for part in parts} == {film.path}
        np.testing.assert_array_equal([opened.read(part) for part in parts], expected)


def test_a_changed_film_loses_its_old_windows(folder: Path, store: Path) -> None:
    run(folder, store, windows="2", num_frames=4)
    make_video(folder / "film.mp4", num_frames=77, fps="10")
    summary = run(folder, store)
    assert (summary.num_changed, summary.num_unchanged) == (1, 1)
    opened = FrameStore.open(store)
    windows = [part.window for part in opened.parts_of(opened.videos[0])]
    assert windows == list(WindowRule(2.0).windows(7.7))[:-1]


def test_two_new_films_of_the_same_content_both_have_windows(folder: Path, store: Path) -> None:
    shutil.copyfile(folder / "film.mp4", folder / "same.mp4")
    run(folder, store, windows="2", num_frames=4)
    opened = FrameStore.open(store)
    assert [len(opened.parts_of(video)) for video in opened.videos] == [5, 5, 0]


def test_a_film_whose_container_states_too_long_a_duration(folder: Path, store: Path) -> None:
    """The sound of this file is longer than its pictures."""
    long_sound = folder / "sound.mkv"
    silent = make_video(folder.parent / "silent.mkv", num_frames=50, fps="10")
    sound = ("-f", "lavfi", "-i", "sine=duration=12", "-map", "0:v", "-map", "1:a", "-c:v", "copy")
    run_ffmpeg("-i", silent, *sound, long_sound)
    summary = run(long_sound, store, windows="2", num_frames=4)
    assert summary.failed == []
    opened = FrameStore.open(store)
    assert opened.videos[0].duration_seconds == pytest.approx(5.0)
    starts = [part.window.start_seconds for part in opened.parts_of(opened.videos[0])]
    assert len(starts) == 3  # of 7 windows
    assert max(starts) < 5.0


def test_an_interrupted_film_is_resumed_at_the_windows_that_are_missing(folder: Path, store: Path) -> None:
    data = DataConfig(size=32, workers=0, windows="2", num_frames=4)
    request = ExtractRequest([folder / "film.mp4"], store, data)
    with pytest.raises(KeyboardInterrupt):
        extract(request, Interrupting(after=5))
    opened = FrameStore.open(store)
    assert len(opened.known.parts["film.mp4"]) == 3
    assert opened.videos == []  # a film without all of its windows is not there yet
    assert extract(request, SilentProgress()).num_frames == 4 * 3
    opened = FrameStore.open(store)
    assert len(opened.parts_of(opened.videos[0])) == 5
    assert opened.verify() == []


def test_a_copy_of_an_interrupted_film_has_all_windows(folder: Path, store: Path) -> None:
    request = ExtractRequest([folder], store, DataConfig(size=32, workers=0, windows="2", num_frames=4))
    with pytest.raises(KeyboardInterrupt):
        extract(request, Interrupting(after=2 * 2 + 3))
    assert list(FrameStore.open(store).known.parts) == ["film.mp4"]
    shutil.copyfile(folder / "film.mp4", folder / "same.mp4")
    extract(request, SilentProgress())
    opened = FrameStore.open(store)
    assert [len(opened.parts_of(video)) for video in opened.videos] == [5, 5, 0]
    film, same, _ = opened.videos
    expected = [opened.read(part) for part in opened.parts_of(film)]
    np.testing.assert_array_equal([opened.read(part) for part in opened.parts_of(same)], expected)


def test_windows_are_verified_and_counted_once(folder: Path, store: Path) -> None:
    run(folder, store, windows="2", num_frames=4)
    (folder / "film.mp4").rename(folder / "renamed.mp4")
    run(folder, store)
    progress = Counting()
    found = describe_file(store, progress, verify=True)
    assert (found.description["videos"], found.description["windows"], found.problems) == (2, 5, [])
    assert found.description["frames"] == 4 * 7
    assert progress.tasks == {"verify": (7, 7)}

    opened = FrameStore.open(store)
    part = opened.parts_of(opened.videos[0])[2]
    place = opened.segments[part.segment].columns["frames"].offset_bytes + part.first_frame * 3 * 32**2
    content = bytearray(store.read_bytes())
    content[place] ^= 1
    store.write_bytes(content)
    progress = Counting()
    assert describe_file(store, progress, verify=True).problems == ["the frames of renamed.mp4 are damaged"]
    assert progress.tasks == {"verify": (7, 7)}


def test_a_film_that_fails_is_told_once_and_counts_as_all_of_its_windows(folder: Path, store: Path) -> None:
    class Changing(Counting):
        """Changes the film once some of its windows are stored."""

        def advance(self, amount: int = 1) -> None:
            super().advance(amount)
            if self.tasks.get("decode") == (7, 2):
                os.utime(folder / "film.mp4", ns=(1, 1))

    progress = Changing()
    data = DataConfig(size=32, workers=0, windows="2", num_frames=4)
    summary = extract(ExtractRequest([folder], store, data), progress)
    assert [(path, reason) for path, reason in summary.failed] == [("film.mp4", "changed while it was read")]
    assert progress.failed == ["film.mp4"]
    assert progress.tasks["decode"] == (7, 7)
    assert [video.path for video in FrameStore.open(store).videos] == ["short.mp4"]


@pytest.mark.slow
def test_a_killed_extraction_of_a_film_loses_only_windows_in_flight(tmp_path: Path, store: Path) -> None:
    film = make_video(tmp_path / "film.mp4", "-g", "10", num_frames=1500, fps="10", width=320, height=240)
    script = f"""
        from pathlib import Path
        from tests.support.extracting import run
        if __name__ == "__main__":
            run(Path({os.fspath(film)!r}), Path({os.fspath(store)!r}), windows="1", num_frames=8, workers=1)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY)
    deadline = time.monotonic() + 60
    found = 0
    while found < 20 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
        if store.exists():
            from vopcli.errors import VopError

            try:
                found = len(FrameStore.open(store).known.parts.get("film.mp4", []))
            except VopError:
                continue
    process.send_signal(signal.SIGKILL)
    process.wait()

    opened = FrameStore.open(store)
    kept = len(opened.known.parts["film.mp4"])
    assert kept >= 20
    assert opened.videos == []  # a film without all of its windows is not there yet
    summary = run(film, store, windows="1", num_frames=8)
    assert summary.num_frames == 8 * (151 - kept)
    opened = FrameStore.open(store)
    assert len(opened.parts_of(opened.videos[0])) == 150
    assert opened.verify() == []
