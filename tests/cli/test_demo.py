"""``vop demo``: what it prints, what it refuses, and how good the search in its folder is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vopcli.cli.app import app
from vopcli.datasets.demo.folder import CAPTIONS, SETTINGS_NAME, DemoRequest, make_demo
from vopcli.datasets.demo.scenes import plan_demo
from vopcli.progress import SilentProgress


def vop(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments])


def finished(folder: Path) -> Path:
    """Make a demo folder of seed 3 whose videos are empty files, but for four."""
    pairs = list(plan_demo(seed=3))
    make_demo(DemoRequest(folder, seed=3), progress=SilentProgress(), pairs=[pairs[0], pairs[-1]])
    for pair in pairs:
        for video in pair:
            (folder / "videos" / video.name).touch()
    return folder


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    result = vop(str(tmp_path))
    assert result.exit_code == 2
    assert result.stdout == ""
    problem, hint = result.stderr.splitlines()
    assert problem == f"Error: {tmp_path} is not empty"
    assert "--overwrite" in hint


def test_help_loads_no_video_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from vopcli.cli.app import app;"
        "print(CliRunner().invoke(app, ['demo', '--help']).stdout);"
        "print(sorted({'av', 'cv2', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--run" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_finished_folder_is_described_again(tmp_path: Path) -> None:
    """The video files are stand-ins: that a finished set is not drawn again is what is tested."""
    folder = finished(tmp_path / "my demo")
    result = vop(str(folder), "--seed", "3", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"{folder} holds 576 videos with 1008 captions.",
        "Try:",
        f"  cd {shlex.quote(str(folder))}",
        "  vop extract-frames videos/ out.h5",
        "  vop encode out.h5 idx.h5",
        '  vop search "a red circle" --index idx.h5',
        "  vop train --variant C --epochs 12",
        "  vop eval zero-shot runs/C-seed0",
        "  vop encode out.h5 tuned.h5 --adapter runs/C-seed0",
        '  vop search "a red circle goes to the right" --index tuned.h5',
    ]
    document = json.loads(vop(str(folder), "--seed", "3", "--json").stdout)
    assert document["folder"] == str(folder)
    assert (document["num_videos"], document["num_written"], document["num_captions"]) == (576, 0, 1008)
    assert document["commands"][0] == "vop extract-frames videos/ out.h5"


@pytest.mark.slow
def test_its_commands_work_word_for_word_and_run_again_where_they_ran(tmp_path: Path) -> None:
    """With a quarter of the frames and half of the captions: training takes an eighth of the time."""
    folder = tmp_path / "demo"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = vop(str(folder), "--json")
    assert run.exit_code == 0
    lines = (folder / CAPTIONS).read_text().splitlines(keepends=True)
    few = [line for number, line in enumerate(lines) if number % 2 or json.loads(line)["split"] == "test"]
    (folder / "few.jsonl").write_text("".join(few))
    settings = (folder / SETTINGS_NAME).read_text().replace("size: 48", "size: 48, num_frames: 3")
    (folder / SETTINGS_NAME).write_text(settings.replace(CAPTIONS, "few.jsonl"))
    outputs = {}
    for command in json.loads(run.stdout)["commands"]:
        done = subprocess.run(
            shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        outputs[command] = done.stdout
    table, _, search = [[line.split("\t") for line in text.splitlines()] for text in outputs.values()][4:]
    assert len(search) == 10
    assert "red-circle-right-" in search[0][-1]
    assert [float(row[0]) for row in search] == sorted((float(row[0]) for row in search), reverse=True)
    recalls = {row[0]: float(row[2]) for row in table}  # t2v R@1
    assert recalls["runs/C-seed0"] > recalls["zero-shot"] + 20
    steps = json.loads(vop(str(folder), "--run", "--json").stdout)["run"]
    commands = list(outputs)
    commands[3] += " --resume"  # of `vop train`, whose run is finished
    assert [step["command"] for step in steps] == commands
    repeated = {step["command"]: step["output"] for step in steps if " search " in step["command"]}
    assert repeated.items() <= outputs.items()
    assert len(repeated) == 2


def test_a_command_that_fails_ends_the_run_with_its_exit_code(tmp_path: Path) -> None:
    folder = finished(tmp_path / "demo")  # its videos are empty files
    done = subprocess.run(
        [sys.executable, "-m", "vopcli", "demo", str(folder), "--run", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4  # all of its videos failed
    assert [line for line in done.stdout.splitlines() if line.startswith("$ ")] == [
        "$ vop extract-frames videos/ out.h5"
    ]
