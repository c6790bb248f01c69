"""``vop moments``."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from vopcli.cli.app import app
from vopcli.datasets.demo.films import QUERIES, plan_films, write_films
from vopcli.progress import SilentProgress

RUNNER = CliRunner()


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_ranges_of_a_film(tmp_path: Path) -> None:
    write_films(tmp_path, plan_films(seed=0, num_clips=11)[:1], SilentProgress())
    queries, index, saved = str(tmp_path / QUERIES), str(tmp_path / "i.h5"), tmp_path / "saved.jsonl"
    missing = vop("moments", queries)
    assert (missing.exit_code, "--index" in missing.stderr) == (2, True)
    done = vop("encode", str(tmp_path / "films"), index, "--weights", "demo-tiny", "--device", "cpu")
    assert done.exit_code == 0, done.stderr

    done = vop("moments", queries, "--index", index, "--save-predictions", str(saved))
    assert done.exit_code == 0, done.stderr
    names = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert names == ["search", "best constant range"]
    assert "1 queries over all 1 videos: right video first 100.0 %" in done.stderr
    assert len(json.loads(saved.read_text(encoding="utf-8"))["pred_relevant_windows"][0]) == 3

    again = vop("moments", queries, "--index", index, "--save-predictions", str(saved))
    assert (again.exit_code, "exists already" in again.stderr) == (3, True)
    again = vop("moments", queries, "--index", index, "--json")
    result = json.loads(again.stdout)
    assert (result["num_queries"], result["video_first"]) == (1, 100.0)
    assert f"{result['within']['mean_iou']:.1f}" == done.stdout.splitlines()[0].split("\t")[4]
