"""Decoding on Ray: the same results as on this machine, and nothing lost when a part of it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import encoding, extracting
from tests.support.models import write_model
from tests.support.ray_cluster import ENVIRONMENT, OTHER, ray_cluster
from tests.support.s3 import s3_server, upload
from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.index.reader import VideoIndex


@pytest.fixture
def video(tmp_path: Path) -> Path:
    make_video(tmp_path / "a.mp4", num_frames=8)
    return tmp_path / "a.mp4"


@pytest.fixture
def _without_ray() -> Iterator[None]:
    loaded = sys.modules.pop("ray", None)
    sys.modules["ray"] = None  # type: ignore[assignment]
    yield
    del sys.modules["ray"]
    if loaded:
        sys.modules["ray"] = loaded


@pytest.mark.usefixtures("_without_ray")
@pytest.mark.parametrize("command", ["extract-frames", "encode"])
def test_a_missing_package_is_named_before_any_work(video: Path, command: str) -> None:
    done = CliRunner().invoke(app, [command, str(video), "out.h5", "--ray", "auto"])
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "Error: --ray needs Ray, which is not installed",
        'Hint: run `pip install "vopcli[ray]"`',
    ]
    assert not Path("out.h5").exists()


@pytest.mark.parametrize(
    ("address", "code", "problem"),
    [
        ("127.0.0.1:9", 3, "no Ray cluster answers at 127.0.0.1:9"),
        ("somewhere", 2, "--ray 'somewhere' is not an address"),
        ("ray://127.0.0.1:10001", 2, "--ray 'ray://127.0.0.1:10001' is not an address"),
    ],
)
def test_a_wrong_address_is_named(video: Path, address: str, code: int, problem: str) -> None:
    done = CliRunner().invoke(app, ["encode", str(video), "out.h5", "--ray", address])
    assert (done.exit_code, done.stdout) == (code, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"Error: {problem}")
    assert hint.startswith("Hint: ")
    assert not Path("out.h5").exists()


def test_ray_needs_decoding_processes(video: Path) -> None:
    done = CliRunner().invoke(
        app, ["extract-frames", str(video), "out.h5", "--ray", "auto", "--workers", "0"]
    )
    assert done.exit_code == 2
    assert "--ray needs decoding processes, and data.workers is 0" in done.stderr


def test_a_dry_run_needs_no_cluster(video: Path) -> None:
    command = ["extract-frames", str(video), "out.h5", "--ray", "127.0.0.1:9", "--dry-run"]
    assert CliRunner().invoke(app, command).exit_code == 0


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short videos, and films of several windows."""
    folder = extracting.make_videos(tmp_path_factory.mktemp("films"), 6)
    for number in range(6):
        make_video(folder / f"film-{number}.mp4", "-vf", "scale=320:240", num_frames=100 + number)
    return folder


OPTIONS = ("--windows", "2", "--sampling", "fps:10", "--num-frames", "8", "--quiet")
ENVIRON = {**os.environ, **ENVIRONMENT}


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return extracting.start(*arguments, *OPTIONS, env=ENVIRON)


def vop(*arguments: str | Path) -> tuple[int, str]:
    """Run a command; return its exit code and its standard error."""
    code, _, said = extracting.vop(*arguments, *OPTIONS, env=ENVIRON)
    return code, said


@pytest.mark.slow
def test_a_cluster_gives_what_this_machine_gives(films: Path, tmp_path: Path) -> None:
    """One test for all, because a cluster takes long to start; the loss of a node comes last."""
    local = tmp_path / "local.h5"
    extract = ("extract-frames", films, "--size", "32")
    extracting.run(films, local, windows="2", sampling="fps:10", num_frames=8)
    with s3_server() as client, ray_cluster() as cluster:
        check_index(films, tmp_path, cluster.address)
        far = ("extract-frames", upload(client, films), tmp_path / "s3.h5", "--size", "32", *OPTIONS)
        environment = {**os.environ, **ENVIRONMENT}
        assert extracting.vop(*far, "--ray", cluster.address, env=environment)[0] == 0
        assert extracting.contents(tmp_path / "s3.h5") == extracting.contents(local)
        check_lost_workers(tmp_path, cluster.address)
        killed, lost = tmp_path / "killed.h5", tmp_path / "lost.h5"
        with start(*extract, killed, "--ray", cluster.address) as driver:
            extracting.wait_for_frames(killed, driver)
            driver.kill()
        assert vop(*extract, killed, "--ray", cluster.address) == (0, "")
        with start(*extract, lost, "--ray", cluster.address) as driver:
            extracting.wait_for_frames(lost, driver)
            cluster.kill("raylet", OTHER)
            _, said = driver.communicate(timeout=120)
        assert driver.returncode == 0
        assert said in {"", f"Warning: Ray lost the node {OTHER}; nodes left: 1\n"}
    assert cluster.processes() == []
    assert extracting.contents(killed) == extracting.contents(local)
    assert extracting.contents(lost) == extracting.contents(local)


def check_index(films: Path, folder: Path, address: str) -> None:
    """An index has the same rows as one of this machine, hashes of the files included."""
    weights = write_model(folder / "tiny.safetensors")
    encode = ("encode", films, "--weights", weights, "--device", "cpu")
    near = [*map(str, encode), str(folder / "near.h5"), "--workers", "1", *OPTIONS]
    assert CliRunner().invoke(app, near).exit_code == 0
    assert vop(*encode, folder / "far.h5", "--ray", address) == (0, "")
    assert encoding.contents(folder / "far.h5") == encoding.contents(folder / "near.h5")
    hashes = [
        {(video.path, video.window): video.sha256 for video in VideoIndex(folder / name).videos()}
        for name in ("near.h5", "far.h5")
    ]
    assert hashes[0] == hashes[1]
    assert all(hashes[0].values())


def check_lost_workers(folder: Path, address: str) -> None:
    """A worker that ends costs no result, and gives none twice; a video that always ends it fails alone."""
    script = f"""
        import json
        from tests.support.decode_work import exit_once, misbehave
        from vopcli.config.schema import DataConfig
        from vopcli.progress import SilentProgress
        from vopcli.video.pool import DecodeJob, run_jobs
        from vopcli.video.ray_pool import opened_workers

        with opened_workers(DataConfig(ray={address!r}), SilentProgress()) as workers:
            once = {str(folder / "once")!r}
            for paths, work in ((["a", "exit", "b", "bug"], misbehave), ([once], exit_once)):
                jobs = [DecodeJob(key, path) for key, path in enumerate(paths)]
                found = [(job.path, str(result)) for job, result in run_jobs(jobs, work, workers=workers)]
                print(json.dumps(found))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True, timeout=120)
    misbehaved, continued = map(json.loads, done.stdout.splitlines())
    assert dict(misbehaved) == {
        "a": "did a",
        "b": "did b",
        "bug": "bug: cannot be decoded (KeyError: 'a bug in the decoder')",
        "exit": "exit: 4 Ray workers ended while they decoded it",
    }
    assert len(misbehaved) == 4
    assert [result for _, result in continued] == ["first", "second", "third"]
