from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.decode_work import misbehave
from tests.support.videos import drawn_number, make_video
from vopcli.errors import VideoError
from vopcli.video.collect import SampledFrames
from vopcli.video.pool import DecodeJob, decode_videos, run_jobs, scan_videos
from vopcli.video.sampling import Sampling, parse_sampling
from vopcli.video.video import FrameSpec, read_frames
from vopcli.video.video_file import WHOLE
from vopcli.video.windows import WHOLE_ONLY

UNIFORM = Sampling("uniform", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 10, 20, 30 and 40 frames, and a text file called a video."""
    folder = tmp_path_factory.mktemp("videos")
    for num_frames in (10, 20, 30, 40):
        make_video(folder / f"{num_frames}.mp4", num_frames=num_frames)
    (folder / "text.mp4").write_text("no video\n" * 99)
    return folder


def jobs_of(*paths: object) -> list[DecodeJob]:
    return [DecodeJob(key, str(path)) for key, path in enumerate(paths)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_video_comes_back_once(folder: Path, workers: int) -> None:
    jobs = jobs_of(*sorted(folder.iterdir())) * 2

    results = list(decode_videos(iter(jobs), FrameSpec(UNIFORM, 64), workers=workers))

    assert sorted(job.key for job, _ in results) == sorted(job.key for job in jobs)
    for job, result in results:
        if Path(job.path).name == "text.mp4":
            assert isinstance(result, VideoError)
            assert "not a video" in str(result)
            assert result.hint
        else:
            assert isinstance(result, SampledFrames)
            expected = read_frames(job.path, UNIFORM, size=64)
            np.testing.assert_array_equal(result.frames, expected.frames)
            np.testing.assert_array_equal(result.seconds, expected.seconds)
            assert (result.info, result.num_real) == (expected.info, expected.num_real)


def test_no_jobs_need_no_workers() -> None:
    assert list(decode_videos([], FrameSpec(UNIFORM, 64), workers=2)) == []


def test_jpegs_take_the_place_of_frames(folder: Path) -> None:
    jobs = jobs_of(folder / "20.mp4")
    [(_, result)] = decode_videos(jobs, FrameSpec(UNIFORM, 64), workers=1, jpeg_quality=90)

    assert isinstance(result, SampledFrames)
    assert result.frames.shape == (0, 64, 64, 3)
    assert len(result.jpegs) == 4
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in result.jpegs)
    assert result.num_real == 4


def test_scan_counts_the_frames_to_come(folder: Path) -> None:
    jobs = jobs_of(folder / "20.mp4", folder / "40.mp4", folder / "text.mp4")
    counts = {
        job.key: result for job, result in scan_videos(jobs, parse_sampling("fps:5"), WHOLE_ONLY, workers=2)
    }

    assert (counts[0], counts[1]) == ([(WHOLE, 4)], [(WHOLE, 8)])  # at 25 frames a second: every fifth
    assert isinstance(counts[2], VideoError)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_costs_only_its_own_video(workers: int) -> None:
    paths = ["a", "b", "segfault", "c", "d", "exit", "segfault-again", "e", "memory", "bug", "f"]

    results = {job.path: result for job, result in run_jobs(jobs_of(*paths), misbehave, workers=workers)}

    assert sorted(results) == sorted(paths)
    assert [results[path] for path in "abcdef"] == [f"did {path}" for path in "abcdef"]
    assert str(results["segfault"]) == "segfault: the decoder crashed (SIGSEGV)"
    assert str(results["segfault-again"]) == "segfault-again: the decoder crashed (SIGSEGV)"
    assert str(results["exit"]) == "exit: the decoder crashed (exit code 3)"
    assert "not enough memory" in str(results["memory"])
    assert "KeyError: 'a bug in the decoder'" in str(results["bug"])


def test_a_stalled_decoder_is_ended_but_a_slow_one_is_not() -> None:
    jobs = jobs_of("stall", "slow", "a")
    results = {
        job.path: str(result) for job, result in run_jobs(jobs, misbehave, workers=1, stalled_seconds=0.5)
    }
    assert results == {"stall": "stall: the decoder stalled", "slow": "did slow", "a": "did a"}


def test_workers_do_not_react_to_ctrl_c() -> None:
    assert [result for _, result in run_jobs(jobs_of("interrupt"), misbehave, workers=1)] == ["did interrupt"]


def test_closing_ends_the_workers_at_once() -> None:
    results = run_jobs(jobs_of("a", "stall", "stall", "stall"), misbehave, workers=2)
    next(results)
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]

    assert time.monotonic() - start < 5
    assert multiprocessing.active_children() == []


def test_an_error_of_the_jobs_reaches_the_caller() -> None:
    def jobs() -> Iterator[DecodeJob]:
        yield DecodeJob(0, "a")
        raise RuntimeError("the list of videos broke")

    with pytest.raises(RuntimeError, match="the list of videos broke"):
        list(run_jobs(jobs(), misbehave, workers=1))
    assert multiprocessing.active_children() == []


def test_few_jobs_are_taken_ahead() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[DecodeJob]:
        for key in range(100):
            taken.append(key)
            yield DecodeJob(key, "a")

    results = run_jobs(jobs(), misbehave, workers=1)
    next(results)
    time.sleep(0.5)
    assert len(taken) < 10
    results.close()  # type: ignore[attr-defined]


def test_workers_load_no_torch(folder: Path) -> None:
    script = f"""
        from tests.support.decode_work import loaded_modules
        from vopcli.video.pool import DecodeJob, run_jobs
        if __name__ == "__main__":
            jobs = [DecodeJob(0, {str(folder / "20.mp4")!r})]
            print(next(iter(run_jobs(jobs, loaded_modules, workers=1)))[1])
    """
    file = folder / "script.py"
    file.write_text(textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    done = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True, check=True)
    file.unlink()
    assert done.stdout.strip() == "['PIL', 'av']"
    assert done.stderr == ""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, end: signal.Signals) -> None:
    script = """
        import multiprocessing
        from tests.support.decode_work import misbehave
        from vopcli.video.pool import DecodeJob, run_jobs
        if __name__ == "__main__":
            jobs = [DecodeJob(key, path) for key, path in enumerate(["a", "b", "stall", "stall"])]
            results = run_jobs(jobs, misbehave, workers=2)
            next(results), next(results)
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
            next(results)
    """
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    with subprocess.Popen(
        [sys.executable, file], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        parent.send_signal(end)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def test_frames_survive_the_way_back(folder: Path) -> None:
    [(_, result)] = decode_videos(jobs_of(folder / "40.mp4"), FrameSpec(UNIFORM, 64), workers=1)
    assert isinstance(result, SampledFrames)
    assert [drawn_number(frame) for frame in result.frames] == [4, 14, 24, 34]
