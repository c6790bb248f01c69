"""``vop serve``: packages, indexes and addresses that are missing, and a folder that is indexed first."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from typer.testing import CliRunner

from tests.support.models import write_model
from tests.support.videos import make_video
from vopcli.cli.app import app


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    code = """
import sys
sys.modules["uvicorn"] = None
sys.argv = ["vop", "serve", "idx.h5"]
from vopcli.cli.app import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert "not installed" in error
    assert 'pip install "vopcli[web]"' in hint


def test_a_missing_index_is_reported(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "none.h5"])
    assert done.exit_code == 3
    assert "none.h5 does not exist" in done.stderr


def test_only_a_folder_of_the_index_is_watched(tmp_path: Path) -> None:
    for name in ("films", "others"):
        (tmp_path / name).mkdir()
    done = CliRunner().invoke(app, ["serve", "films", "--watch", "others"])
    assert done.exit_code == 2
    assert "index of the folder films holds only its own videos, not those of others" in done.stderr
    done = CliRunner().invoke(app, ["serve", "films", "--watch", "nothing"])
    assert (done.exit_code, "--watch nothing is not a folder" in done.stderr) == (2, True)
    assert not list(tmp_path.rglob("*.h5"))


def test_an_empty_folder_is_watched_then_indexed_and_served(tmp_path: Path) -> None:
    weights = write_model(tmp_path / "tiny.safetensors")
    (tmp_path / "films").mkdir()
    done = CliRunner().invoke(app, ["serve", "films", "--weights", str(weights)])
    assert (done.exit_code, "no video found in films" in done.stderr) == (3, True)
    command = [sys.executable, "-m", "vopcli", "serve", "films", "--weights", str(weights), "--port", "0"]
    command += ["--watch", "films"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("films has no video: waiting for the first one")
            make_video(tmp_path / "a.mp4", num_frames=8).rename(tmp_path / "films/a.mp4")
            [address] = re.findall(
                r"Serving at (\S+)", next(line for line in server.stderr if "Serving" in line)
            )
            with urllib.request.urlopen(f"{address}api/search?q=a+dog") as answer:  # noqa: S310  (loopback)
                assert [hit["path"] for hit in json.load(answer)["hits"]] == ["a.mp4"]
        finally:
            server.terminate()
