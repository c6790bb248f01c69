"""``vop encode`` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.models import write_model
from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.index.check import describe_index
from vopcli.index.reader import VideoIndex

RUNNER = CliRunner()
SETTINGS = "data: {workers: 0}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The current folder, with two videos below it, which this process decodes."""
    here = tmp_path / "here"
    (here / "videos").mkdir(parents=True)
    (here / "vop.yaml").write_text(SETTINGS)
    os.chdir(here)
    make_video(here / "videos" / "a.mp4", num_frames=8)
    make_video(here / "videos" / "b.mp4", "-vf", "negate", num_frames=8)
    return here


def vop(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return RUNNER.invoke(app, list(arguments), env=env)


def test_the_three_commands(folder: Path, weights: Path) -> None:
    assert vop("extract-frames", "videos", "out.h5", "--size", "35", "--num-frames", "3").exit_code == 0
    result = vop("encode", "out.h5", "idx.h5", env={"VOP_WEIGHTS": str(weights)})
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "idx.h5: 2 videos (2 new)" in result.stderr
    query = ("search", "a dog playing with its tail", "--index", "idx.h5")
    found = vop(*query, env={"VOP_WEIGHTS": str(weights)}).stdout.splitlines()
    assert vop(*query).stdout.splitlines() == found  # the index names its model
    assert sorted(line.split("\t")[2] for line in found) == ["videos/a.mp4", "videos/b.mp4"]
    assert describe_index(folder / "idx.h5")["backbone"]["weights"] == str(weights)


def test_json_and_failures(folder: Path, weights: Path) -> None:
    (folder / "videos" / "bad.mp4").write_text("no video")
    command = [
        "encode",
        "videos",
        "idx.h5",
        "--weights",
        str(weights),
        "--num-frames",
        "2",
        "--precision",
        "fp32",
    ]
    result = vop(*command, "--json", "--device", "cpu")
    assert result.exit_code == 4
    document = json.loads(result.stdout)
    assert (document["num_new"], document["num_videos"], document["num_frames"]) == (2, 2, 4)
    assert (document["device"], document["precision"], document["index"]) == ("cpu", "fp32", "idx.h5")
    assert [failure["path"] for failure in document["failures"]] == ["bad.mp4"]
    assert "Failed: bad.mp4: " in result.stderr
    (folder / "videos" / "bad.mp4").unlink()
    result = vop(*command, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert "2 unchanged" in vop(*command).stderr


def test_a_failed_video_is_tried_again_once_it_changes_or_when_asked(folder: Path, weights: Path) -> None:
    bad = folder / "videos" / "bad.mp4"
    bad.write_text("no video")
    command = ["encode", "videos", "idx.h5"]
    assert vop(*command, "--weights", str(weights), "--num-frames", "2").exit_code == 4
    for more in ([], ["--prune"], ["--prune"]):  # pruning an index rewrites it
        result = vop(*command, *more)
        assert result.exit_code == 0, result.stderr
        assert "(2 unchanged, 1 failed before (--retry-failed tries them again))" in result.stderr
    document = json.loads(vop(*command, "--json").stdout)
    assert [failure["path"] for failure in document["failed_before"]] == ["bad.mp4"]
    result = vop(*command, "--retry-failed")
    assert (result.exit_code, "Failed: bad.mp4: " in result.stderr) == (4, True)
    assert describe_index(folder / "idx.h5")["failed"] == 1
    make_video(bad, "-vf", "hflip", num_frames=8)
    assert "(1 new, 2 unchanged)" in vop(*command).stderr
    assert describe_index(folder / "idx.h5")["failed"] == 0


def test_an_index_keeps_its_model_and_frames(folder: Path, weights: Path) -> None:
    """Without --weights the default model, ViT-B/32, would be downloaded: here that fails."""
    options = ["--weights", str(weights), "--num-frames", "2", "--windows", "5"]
    assert vop("encode", "videos", "idx.h5", *options).exit_code == 0
    recipe = VideoIndex(folder / "idx.h5").meta.recipe
    assert (recipe["sampling"], recipe["windows"]) == ("uniform:2", "5")
    make_video(folder / "videos" / "c.mp4", "-vf", "hflip", num_frames=8)
    result = vop("encode", "videos", "idx.h5")
    assert (result.exit_code, "(1 new, 2 unchanged)" in result.stderr) == (0, True)
    assert {video.num_frames for video in VideoIndex(folder / "idx.h5").videos()} == {2}
    other = write_model(folder / "other.safetensors", seed=1)
    result = vop("encode", "videos", "idx.h5", "--weights", str(other))
    assert (result.exit_code, "was made with another model" in result.stderr) == (3, True)
    result = vop("encode", "videos", "idx.h5", "--num-frames", "3")
    assert (result.exit_code, "holds frames of sampling uniform:2, not uniform:3" in result.stderr) == (
        3,
        True,
    )


def test_nothing_to_do_loads_neither_torch_nor_decoders(folder: Path, weights: Path) -> None:
    assert vop("encode", "videos", "idx.h5", "--weights", str(weights)).exit_code == 0
    (folder / "vop.yaml").unlink()
    code = (
        "import sys; from vopcli.cli.app import app; sys.argv = ['vop', 'encode', 'videos', 'idx.h5']\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "late = {'torch', 'cv2', 'av', 'yaml', 'tarfile', 'numpy.ma', 'rich', 'vopcli.weights.reader'}\n"
        "assert not late & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "2 unchanged" in done.stderr) == (0, True), done.stderr


def test_weights_relative_to_another_folder(folder: Path, weights: Path) -> None:
    (folder / "model.safetensors").symlink_to(weights)
    (folder / "vop.yaml").write_text(SETTINGS + "backbone: {weights: model.safetensors}\n")
    assert vop("encode", "videos", "idx.h5", "--num-frames", "2").exit_code == 0
    for kept in (folder.parent / "cache" / "text").iterdir():
        kept.unlink()
    (folder / "videos").rename(folder / "moved")
    os.chdir(folder.parent)
    result = vop("search", "a dog", "--index", "here/idx.h5", "--paths")
    assert result.exit_code == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["here/videos/a.mp4", "here/videos/b.mp4"]
    # moved as a whole, the videos keep their embeddings and get their new place
    assert "2 copied" in vop("encode", "here/moved", "here/idx.h5", "--weights", str(weights)).stderr
    assert {video.root for video in VideoIndex(folder / "idx.h5").videos()} == {str(folder / "moved")}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none", "idx.h5"], 3, "none does not exist"),
        (["videos", "idx.h5", "--weights", "none.pt"], 3, "none.pt"),
        (["videos", "idx.h5", "--device", "toaster"], 2, "toaster"),
        (["videos", "idx.h5", "--sampling", "often"], 2, "often"),
        (["videos", "idx.h5", "--batch-size", "0"], 2, "--batch-size"),
        (["idx.h5"], 2, "no videos are named, only the index idx.h5"),
        (["videos"], 2, "no index is named: videos, the last name, is a folder"),
        (["videos", "videos/a.mp4"], 2, "a.mp4, the last name, is a video"),
        (["videos", "videos/a.mp4", "--overwrite"], 2, "is a video"),
    ],
)
def test_errors_are_two_lines_without_traceback(
    folder: Path, weights: Path, arguments: list[str], code: int, said: str
) -> None:
    named = [] if "--weights" in arguments else ["--weights", str(weights)]
    result = vop("encode", *arguments, *named)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert result.stdout == ""
    assert not (folder / "idx.h5").exists()
    lines = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines if "Usage:" not in line] == ["Error", "Hint"]
