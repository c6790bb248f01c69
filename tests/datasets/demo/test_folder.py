"""Making a demo folder: what it holds, and what happens when there is something already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vopcli.config.load import load_config
from vopcli.datasets.demo.folder import DemoRequest, DemoSummary, make_demo
from vopcli.datasets.demo.scenes import DemoVideo, plan_demo
from vopcli.errors import FileError, UsageError
from vopcli.progress import SilentProgress

FEW = list(plan_demo(seed=0))[::70]  # 5 pairs, of both splits


def make(
    folder: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    pairs: Sequence[tuple[DemoVideo, DemoVideo]] = FEW,
) -> DemoSummary:
    request = DemoRequest(folder, seed=seed, overwrite=overwrite)
    return make_demo(request, progress=SilentProgress(), pairs=pairs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decode(path: Path) -> NDArray[np.int64]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def num_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_folder_holds_videos_captions_and_settings(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    summary = make(folder)
    files = {path.relative_to(folder / "videos").as_posix() for path in folder.rglob("*.mp4")}
    assert len(files) == summary.num_videos == summary.num_written == 10
    assert all(num_frames(folder / "videos" / name) == 36 for name in files)
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    assert len(lines) == summary.num_captions
    assert {line["video"] for line in lines} == files
    assert all(line["video"].startswith(line["split"] + "/") for line in lines)
    assert {line["split"] for line in lines} == {"train", "test"}
    os.chdir(folder)
    config = load_config()
    assert (config.backbone.weights, config.data.frames, config.data.size) == ("demo-tiny", "out.h5", 48)
    assert (config.data.captions, config.search.index) == ("captions.jsonl", "idx.h5")
    assert summary.commands == (
        "vop extract-frames videos/ out.h5",
        "vop encode out.h5 idx.h5",
        'vop search "a red circle" --index idx.h5',
        "vop train --variant C --epochs 12",
        "vop eval zero-shot runs/C-seed0",
        "vop encode out.h5 tuned.h5 --adapter runs/C-seed0",
        'vop search "a red circle goes to the right" --index tuned.h5',
    )


def test_the_files_of_a_pair_run_in_opposite_directions(tmp_path: Path) -> None:
    make(tmp_path, pairs=FEW[:1])
    forwards, backwards = (decode(tmp_path / "videos" / video.name) for video in FEW[0])
    assert np.abs(forwards - backwards[::-1]).mean() < 1
    assert np.abs(forwards - backwards).mean() > 2


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    make(tmp_path)
    whole = contents(tmp_path)
    lost = sorted((tmp_path / "videos").rglob("*.mp4"))[3]
    lost.unlink()
    (tmp_path / "captions.jsonl").unlink()
    leftover = lost.with_name(f".{lost.name}.abcd1234.part")
    leftover.write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}
    assert make(tmp_path).num_written == 1
    assert contents(tmp_path) == whole
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_running_again_keeps_changed_settings(tmp_path: Path) -> None:
    make(tmp_path, pairs=FEW[:1])
    (tmp_path / "vop.yaml").write_text("backbone: {weights: ViT-B/32}\n")
    assert make(tmp_path, pairs=FEW[:1]).num_written == 0
    assert (tmp_path / "vop.yaml").read_text() == "backbone: {weights: ViT-B/32}\n"
    make(tmp_path, pairs=FEW[:1], overwrite=True)
    assert "demo-tiny" in (tmp_path / "vop.yaml").read_text()


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="is not empty") as caught:
        make(tmp_path)
    assert "--overwrite" in caught.value.hint
    assert contents(tmp_path) == {"letter.txt": b"dear"}


@pytest.mark.parametrize("mark", ["[]", "{", '"vop-demo"', "[" * 5000, '{"format": "other"}', "\udcff"])
def test_another_programs_demo_json_is_no_permission(tmp_path: Path, mark: str) -> None:
    (tmp_path / "demo.json").write_bytes(mark.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match="is not empty"):
        make(tmp_path)


def test_another_seed_is_refused(tmp_path: Path) -> None:
    make(tmp_path, pairs=FEW[:1])
    with pytest.raises(UsageError, match="has the demo set of seed 0, not 5"):
        make(tmp_path, seed=5)


def test_videos_of_another_version_are_refused(tmp_path: Path) -> None:
    make(tmp_path, pairs=FEW[:1])
    mark = json.loads((tmp_path / "demo.json").read_text())
    (tmp_path / "demo.json").write_text(json.dumps({**mark, "version": mark["version"] - 1}))
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="has the demo set of another version") as caught:
        make(tmp_path, pairs=FEW[:1])
    assert "--overwrite" in caught.value.hint
    assert contents(tmp_path) == before


def test_overwriting_replaces_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, pairs=FEW[:2])
    video = sorted((tmp_path / "videos").rglob("*.mp4"))[0]
    before = video.read_bytes()
    mine = [tmp_path / "letter.txt", tmp_path / "videos" / "train" / "holiday.mp4"]
    made = [tmp_path / "runs" / "C-seed0" / "last.ckpt", tmp_path / "study" / "F-seed0" / "last.ckpt"]
    mine.append(tmp_path / "runs" / "P-seed1" / "last.ckpt")
    made += [tmp_path / name for name in ("out.h5", "idx.h5", "tuned.h5")]
    for path in (*mine, *made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("dear")
    others = list(plan_demo(seed=5))[::70][:2]
    assert make(tmp_path, seed=5, overwrite=True, pairs=others).num_written == 4
    assert video.read_bytes() != before
    assert all(path.read_text() == "dear" for path in mine)
    assert not [path for path in made if path.exists()]


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file"):
        make(tmp_path / "file")
    with pytest.raises(FileError, match="lies below something that is not a folder"):
        make(tmp_path / "file" / "demo")


@pytest.mark.slow
def test_a_killed_run_leaves_only_whole_videos_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    code = "import sys; from vopcli.cli.app import main; sys.argv = ['vop', 'demo', sys.argv[1]]; main()"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
    while len(list(folder.rglob("*.mp4"))) < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = [path for path in folder.rglob("*.mp4") if not path.parent.name.startswith(".")]
    assert all(num_frames(path) == 36 for path in whole)
    summary = make_demo(DemoRequest(folder), progress=SilentProgress())
    assert summary.num_videos == 576
    assert 100 < summary.num_written <= 557  # one of the 20 may be a temporary file
    assert len(list(folder.rglob("*.mp4"))) == 576
    assert not list(folder.rglob("*.part"))
