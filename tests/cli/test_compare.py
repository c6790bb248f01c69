"""``vop compare`` on the output of ``vop eval``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vopcli.cli.app import app


def test_what_eval_prints_can_be_compared(folder: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["eval", "zero-shot", "--json"])
    assert done.exit_code == 0, done.stderr
    (folder / "a.json").write_text(done.stdout)
    compared = runner.invoke(app, ["compare", "a.json", "a.json"])
    assert compared.exit_code == 0, compared.stderr
    lines = [line.split("\t") for line in compared.stdout.splitlines()]
    assert [line[1] for line in lines[:6]] == [f"{way} R@{k}" for way in ("t2v", "v2t") for k in (1, 5, 10)]
    assert all(line[5:] == ["+0.0", "+0.0", "+0.0", "0", "0", line[10]] for line in lines[6:])
    result = json.loads(done.stdout)
    assert float(lines[0][2]) == pytest.approx(result["t2v"]["R@1"], abs=0.05)
    as_json = runner.invoke(app, ["compare", "a.json", "a.json", "--json"])
    assert json.loads(as_json.stdout)["num_captions"] == result["t2v"]["num_queries"]
