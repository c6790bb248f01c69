"""Encoding real videos into an index: what ends up in it, what a second run does, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.support.clip import random_state, tiny_clip
from tests.support.encoding import SHORT, SIZE, change, contents, request_for, run
from tests.support.models import open_clip_frames, write_model
from tests.support.progress import Interrupting
from tests.support.videos import make_video
from vopcli.config.choices import Activation
from vopcli.config.load import override
from vopcli.config.schema import DataConfig
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import BusyError, DataError, UnknownActivationError, UsageError
from vopcli.files.hdf5 import read_format_name
from vopcli.frames.extract import ExtractRequest, extract
from vopcli.frames.store import FrameStore
from vopcli.index.check import describe_index, verify_index
from vopcli.index.leftovers import failures_of
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter
from vopcli.progress import SilentProgress, interrupts_deferred
from vopcli.search.text_tower import ModelSource, load_text_tower


def test_store_gives_what_open_clip_gives(store: Path, weights: Path, tmp_path: Path) -> None:
    summary = run(request_for(store, tmp_path / "i.h5", weights))
    assert (summary.num_new, summary.num_videos, summary.failures) == (3, 3, [])
    assert summary.num_frames == 4 + 4 + 2  # repeats go through the model only once
    frames_of = FrameStore.open(store)
    index = VideoIndex(tmp_path / "i.h5")
    stored = {video.path: video for video in frames_of.videos}
    assert {video.path for video in index.videos()} == stored.keys() == {"a.mp4", "below/b.mp4", SHORT}
    for video in index.videos():
        source = stored[video.path]
        expected = open_clip_frames(frames_of.read(source))  # (4, E), the repeats of the short one included
        frames, seconds = index.frames_of(video.row)
        np.testing.assert_allclose(frames.astype(np.float32), expected, atol=5e-4)  # kept as float16
        mean = expected.mean(axis=0) / np.linalg.norm(expected.mean(axis=0))
        np.testing.assert_allclose(index.embedding_of(video.row), mean, atol=1e-5)
        np.testing.assert_array_equal(seconds, source.seconds)
        assert (video.num_real, video.num_frames) == (2 if video.path == SHORT else 4, 4)
        assert (video.root, video.size, video.mtime_ns) == (source.root, source.size, source.mtime_ns)
        assert (video.sha256, video.duration_seconds) == (source.sha256, source.duration_seconds)
    assert verify_index(tmp_path / "i.h5", SilentProgress()) == []


def test_second_run_adds_what_is_new_and_changed(videos: Path, weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    request = request_for(folder, tmp_path / "i.h5", weights)
    run(request)
    before = contents(request.index)
    make_video(folder / "c.mp4", "-vf", "hflip", num_frames=12)
    make_video(folder / "a.mp4", "-vf", "vflip", num_frames=20)
    (folder / "below" / "b.mp4").rename(folder / "renamed.mp4")
    (folder / SHORT).touch()
    summary = run(request)
    assert (summary.num_new, summary.num_changed, summary.num_copied) == (1, 1, 2)
    assert summary.num_frames == 8
    after = contents(request.index)
    assert after.keys() == {"a.mp4", "c.mp4", "renamed.mp4", SHORT}
    assert after["renamed.mp4"] == before["below/b.mp4"]
    assert after[SHORT] == before[SHORT]
    assert after["a.mp4"][0] != before["a.mp4"][0]
    assert verify_index(request.index, SilentProgress()) == []
    assert run(request).num_unchanged == 4


def test_prune_drops_what_vanished(videos: Path, weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    request = request_for(folder, tmp_path / "i.h5", weights)
    run(request)
    before = contents(request.index)
    (folder / "a.mp4").unlink()
    make_video(folder / "c.mp4", num_frames=9)
    assert run(request).num_videos == 4
    summary = run(replace(request, prune=True))
    assert (summary.num_pruned, summary.num_videos) == (1, 3)
    after = contents(request.index)
    assert after.keys() == {"below/b.mp4", "c.mp4", SHORT}
    assert after["below/b.mp4"] == before["below/b.mp4"]
    assert describe_index(request.index)["segments"] == 1
    assert verify_index(request.index, SilentProgress()) == []


def test_model_that_does_not_match_is_refused(store: Path, weights: Path, tmp_path: Path) -> None:
    request = request_for(store, tmp_path / "i.h5", weights)
    run(request)
    before = request.index.read_bytes()
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(DataError, match=r"made with another model .*tiny\.safetensors"):
        run(change(request, weights=str(other)))
    assert request.index.read_bytes() == before
    assert run(change(request, weights=str(other), overwrite=True)).num_new == 3
    large = write_model(
        tmp_path / "large.safetensors", shape=replace(tiny_clip(), image_resolution=42), seed=2
    )
    with pytest.raises(DataError, match="35 px, the model takes 42 px") as raised:
        run(change(request, weights=str(large), index=tmp_path / "large.h5"))
    assert "--size 42" in raised.value.hint
    assert not (tmp_path / "large.h5").exists()


def test_activation_is_given_once(store: Path, tmp_path: Path) -> None:
    heads = {"vision_width": 128, "vision_heads": 2, "text_width": 64, "text_heads": 1}
    shape = replace(tiny_clip(Activation.GELU), **heads)
    tensors = {name: torch.from_numpy(array) for name, array in random_state(shape).items()}
    torch.save(tensors, tmp_path / "plain.pt")
    cache = tmp_path / "cache"
    request = replace(request_for(store, tmp_path / "i.h5", tmp_path / "plain.pt"), cache=cache)
    with pytest.raises(UnknownActivationError) as raised:
        run(request)
    assert "add --activation quick_gelu" in raised.value.hint
    run(replace(request, config=override(request.config, {"backbone.activation": Activation.GELU})))
    assert run(change(request, weights=str(tmp_path / ".." / tmp_path.name / "plain.pt"))).num_unchanged == 3
    shutil.rmtree(cache / "text")  # the fingerprint in the index tells the activation
    tower = load_text_tower(VideoIndex(request.index).meta, ModelSource(cache, SilentProgress()))
    assert tower.shape.activation is Activation.GELU


def test_files_in_the_wrong_place(store: Path, videos: Path, weights: Path, tmp_path: Path) -> None:
    request = request_for(videos, tmp_path / "i.h5", weights)
    with pytest.raises(DataError, match="not an index"):
        run(replace(request, index=videos / "a.mp4", overwrite=True))
    assert (videos / "a.mp4").stat().st_size > 1000
    with pytest.raises(DataError, match="not an index"):
        run(replace(request, index=store, overwrite=True))
    assert read_format_name(store) == "vop-frames"
    with pytest.raises(DataError, match="is a frame store, not an index"):
        run(replace(request, index=store))
    with pytest.raises(UsageError, match="both source and index"):
        run(change(request, sources=[store], index=store, sampling=None))
    with pytest.raises(UsageError, match="only source"):
        run(change(request, sources=[store, videos], sampling=None))
    with pytest.raises(UsageError, match="holds frames sampled by uniform:4, not fps:5"):
        run(change(request, sources=[store], sampling="fps:5"))
    with pytest.raises(DataError, match="does not exist"):
        run(replace(request, sources=[tmp_path / "none"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no video found"):
        run(replace(request, sources=[tmp_path / "empty"]))
    with pytest.raises(UsageError, match="unknown device"):
        run(change(request, device="toaster"))


def test_the_index_is_opened_once(
    store: Path, videos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    class CountedFile(h5py.File):
        def __init__(self, name: object, mode: str = "r", **options: object) -> None:
            opened.append((os.fspath(name) if isinstance(name, (str, Path)) else "locked", mode))
            super().__init__(name, mode, **options)

    monkeypatch.setattr(h5py, "File", CountedFile)
    index = tmp_path / "i.h5"
    (tmp_path / "bank.txt").write_text("a red thing\n")
    first = request_for(videos, index, weights)
    one = replace(first, sources=[videos / "a.mp4"])
    requests = {"new": one, "unchanged": one, "more": first, "prune": replace(one, prune=True)}
    requests["bank"] = replace(one, bank=tmp_path / "bank.txt")
    requests["beta"] = change(one, beta=5.0)
    counts = {}
    for name, request in requests.items():
        opened.clear()
        assert run(request).num_videos == (3 if name == "more" else 1)
        assert not [mode for file, mode in opened if file == str(index)]  # always through the lock
        counts[name] = opened.count(("locked", "r"))
    # A file that replaces the index, with other videos or another query bank, is opened as well.
    assert counts == {"new": 1, "unchanged": 1, "more": 1, "prune": 2, "bank": 2, "beta": 2}


def test_one_writer_at_a_time(store: Path, weights: Path, tmp_path: Path) -> None:
    request = request_for(store, tmp_path / "i.h5", weights)
    run(request)
    with IndexWriter(request.index):
        for attempt in (request, replace(request, overwrite=True), replace(request, prune=True)):
            with pytest.raises(BusyError, match="in use by another process"):
                run(attempt)
    assert run(request).num_unchanged == 3


def test_cache_that_cannot_be_written_is_no_error(store: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    request = request_for(store, tmp_path / "i.h5", weights)
    assert run(replace(request, cache=tmp_path / "file")).num_new == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_any_moment_the_same_command_goes_on(
    how: signal.Signals, videos: Path, weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(24):  # different files: the same content would be encoded once
        make_copy(videos / "a.mp4", folder / f"{number:02d}.mp4", number)
    index = tmp_path / "i.h5"
    command = [sys.executable, "-m", "vopcli", "encode", str(folder), str(index), "--weights", str(weights)]
    command += [
        "--workers",
        "1",
        "--num-frames",
        "4",
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "--precision",
        "fp32",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as child:
        while child.poll() is None and (not index.exists() or b"D" not in statuses(index)):
            time.sleep(0.02)
        assert child.poll() is None, child.stderr and child.stderr.read()
        child.send_signal(how)
        child.wait(120)
        said = child.stderr.read().decode() if child.stderr else ""
    if how is signal.SIGINT:
        assert child.returncode == 130
        assert "kept" in said
    kept = contents(index)
    assert 0 < len(kept) < 24
    assert verify_index(index, SilentProgress()) == []
    summary = run(request_for(folder, index, weights))
    assert (summary.num_unchanged, summary.num_new, summary.num_videos) == (len(kept), 24 - len(kept), 24)
    after = contents(index)
    assert {path: after[path] for path in kept} == kept
    assert verify_index(index, SilentProgress()) == []


def test_ctrl_c_waits_for_the_end_of_a_block() -> None:
    reached = []

    def work() -> None:
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached.append("end of the block")

    idle = threading.Thread(target=time.sleep, args=(1.0,), daemon=True)  # to which the signal may go
    idle.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["end of the block"]
    with pytest.raises(KeyboardInterrupt):  # and it works as before afterwards
        signal.raise_signal(signal.SIGINT)


def make_copy(source: Path, target: Path, number: int) -> None:
    """Copy a video and add a few bytes that players skip."""
    free = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
    target.write_bytes(source.read_bytes() + free)


def statuses(path: Path) -> bytes:
    """The status column of a file that another process writes."""
    return b"".join(segment.status.tobytes() for segment in VideoIndex(path).segments)


@pytest.fixture
def film(weights: Path, tmp_path: Path) -> EncodeRequest:
    """A film of six windows, to be encoded."""
    (tmp_path / "films").mkdir()
    make_video(tmp_path / "films" / "film.mp4", "-g", "10", num_frames=100, fps="10")
    return change(request_for(tmp_path / "films", tmp_path / "i.h5", weights), windows="2")


def windows(path: Path) -> list[str]:
    """The path of each window that a search finds."""
    index = VideoIndex(path)
    return [video.path for video in map(index.video, index.rows()) if video.is_part]


@pytest.mark.parametrize("overwrite", [False, True])
def test_windows_of_an_interrupted_film_are_kept(film: EncodeRequest, *, overwrite: bool) -> None:
    request = change(film, overwrite=overwrite)
    request = replace(request, config=override(request.config, {"encoding.batch_size": 4}))
    with pytest.raises(KeyboardInterrupt):
        encode(request, Interrupting(after=2 + 3))
    assert request.index.exists() is not overwrite
    new = request.index.with_name(f".{request.index.name}.overwrite") / request.index.name
    kept = len(windows(new if overwrite else request.index))
    assert 3 <= kept <= 5
    assert run(request).num_frames == 4 * (6 - kept)
    assert (len(VideoIndex(request.index)), len(windows(request.index))) == (1, 5)


@pytest.mark.parametrize("option", ["prune", "overwrite"])
def test_windows_and_failures_of_files_that_are_gone_are_pruned(film: EncodeRequest, option: str) -> None:
    folder, index = film.sources[0], film.index
    (folder / "bad.mp4").write_text("no video")
    (folder / "a.mp4").write_bytes((folder / "film.mp4").read_bytes())
    run(film)
    if option == "overwrite":  # what an interrupted one left
        index = index.with_name(f".{index.name}.overwrite") / index.name
        index.parent.mkdir()
        film.index.rename(index)
    with IndexWriter(index) as writer:  # a film that was interrupted
        writer.remove([video.row for video in writer.index.videos() if video.path == "a.mp4"])
    (folder / "a.mp4").unlink()
    (folder / "bad.mp4").unlink()
    assert sorted(set(windows(index))) == ["a.mp4", "film.mp4"]
    summary = run(change(film, **{option: True}))
    assert (summary.num_unchanged, summary.num_videos, summary.num_pruned) == (1, 1, 0)
    assert windows(film.index) == ["film.mp4"] * 5
    assert failures_of(VideoIndex(film.index)) == {}


def test_no_window_of_a_film_that_failed_is_found(film: EncodeRequest, tmp_path: Path) -> None:
    data = DataConfig(num_frames=4, size=SIZE, workers=0, windows="2")
    store = tmp_path / "frames.h5"
    extract(ExtractRequest(film.sources, store, data), SilentProgress())
    opened = FrameStore.open(store)
    part = opened.parts_of(opened.videos[0])[2]
    place = opened.segments[part.segment].columns["frames"].offset_bytes + part.first_frame * 3 * SIZE**2
    with store.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    request = request_for(store, film.index, Path(film.config.backbone.model))
    request = replace(request, config=override(request.config, {"encoding.batch_size": 4}))
    summary = run(request)
    assert [path for path, _ in summary.failures] == ["film.mp4"]
    assert VideoIndex(request.index).is_empty


@pytest.mark.parametrize("size", [0, 100, 70_000])
def test_a_truncated_index_can_be_replaced(store: Path, weights: Path, tmp_path: Path, size: int) -> None:
    request = request_for(store, tmp_path / "i.h5", weights)
    run(request)
    os.truncate(request.index, size)
    with pytest.raises(DataError):
        run(request)
    assert run(replace(request, overwrite=True)).num_new == 3
