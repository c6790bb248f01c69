"""``vop data check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.annotations import lsmdc_id, write_lsmdc, write_videos
from tests.support.benchmarks import write_benchmark
from vopcli.cli.app import app
from vopcli.config.choices import DatasetName
from vopcli.frames.store import FrameStore

RUNNER = CliRunner()


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def refused(done: Result, code: int) -> str:
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    return done.stderr.splitlines()[0]


def test_captions_are_checked_against_a_store(training_store: Path, tmp_path: Path) -> None:
    paths = [video.path for video in FrameStore.open(training_store).videos]
    lines = [{"video": path, "caption": "a thing", "split": "train"} for path in (*paths[:3], "gone.mp4")]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "vop.yaml").write_text("data: {captions: captions.jsonl}\n")
    assert "captions.jsonl needs a frame store to find its videos in" in refused(vop("data", "check"), 2)
    checked = vop("data", "check", "--frames", str(training_store))
    assert checked.exit_code == 4
    assert checked.stdout == "train\t4\t\t4\t3\t3\t3\t1\n"
    assert "train: 1 missing: gone.mp4\n" in checked.stderr
    named = ("--frames", str(training_store), "--split", "test")
    assert "captions.jsonl has no split 'test'" in refused(vop("data", "check", *named), 2)
    (tmp_path / "vop.yaml").unlink()
    assert "no benchmark is given" in refused(vop("data", "check"), 2)
    assert "the folder of lsmdc is not given" in refused(vop("data", "check", "--dataset", "lsmdc"), 2)


def test_ranges_of_captions_are_counted(training_store: Path, tmp_path: Path) -> None:
    path = FrameStore.open(training_store).videos[0].path
    lines = [{"video": path, "caption": "a"}, {"video": path, "caption": "b", "start": 0.5, "end": 1}]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    named = ("--frames", str(training_store), "--captions", "captions.jsonl")
    checked = vop("data", "check", *named)
    assert (checked.exit_code, checked.stdout) == (4, "train\t2\t\t2\t1\t1\t1\t1\n")
    assert f"train: 1 missing: {path}@0.5-1\n" in checked.stderr
    assert f"`vop extract-frames VIDEOS... {training_store} --captions captions.jsonl`" in checked.stderr
    split = json.loads(vop("data", "check", *named, "--json").stdout)["splits"]["train"]
    assert (split["ranges"], split["without_file"]) == (1, [f"{path}@0.5-1"])
    lines[1]["start"], lines[1]["end"] = 99, 100
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "captions.jsonl, line 2: " in refused(vop("data", "check", *named), 3)


def test_a_store_of_the_settings_need_not_exist_yet(tmp_path: Path) -> None:
    write_benchmark(DatasetName.MSRVTT_9K, tmp_path / "release")
    (tmp_path / "vop.yaml").write_text("data: {dataset: msrvtt-9k, root: release, frames: out.h5}\n")
    done = vop("data", "check")
    assert done.exit_code == 4, "the release is made up: its size is not the published one"
    assert "Searched for videos in release." in done.stderr
    assert refused(vop("data", "check", "--frames", "out.h5"), 3) == "Error: out.h5 does not exist"


@pytest.mark.parametrize(("count", "code"), [(1000, 0), (999, 4), (1001, 4)])
def test_a_split_of_another_size_than_published_is_no_success(count: int, code: int, tmp_path: Path) -> None:
    names = [lsmdc_id("1000_Some_Movie", number) for number in range(count)]
    write_lsmdc(tmp_path, "test", [(name, f"number {at}") for at, name in enumerate(names)])
    write_videos(tmp_path, [f"{name}.avi" for name in names])
    checked = vop("data", "check", "--dataset", "lsmdc", "--root", ".", "--split", "test")
    assert checked.exit_code == code
    assert checked.stdout.split("\t")[1:3] == [str(count), "1000"]
    warned = (
        f"Warning: test differs from the published size: {count:,} videos instead of 1,000" in checked.stderr
    )
    assert warned is (code == 4)
