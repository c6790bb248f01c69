"""``vop rescore``."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from vopcli.cli.app import app

RUNNER = CliRunner()


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_without_a_bank_there_is_no_qb_norm(folder: Path) -> None:
    done = vop("eval", "zero-shot", "--save-sims", "s.h5", "--bank", "0", "--split", "train")
    assert done.exit_code == 0, done.stderr
    found = vop("rescore", "s.h5")
    assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ["plain", "dual-softmax"]
    assert "no query bank" in found.stderr
    again = vop("rescore", "s.h5", "--set", "evaluation.ties=pessimistic", "--json")
    assert json.loads(again.stdout)["scorings"][0]["t2v"]["ties"] == "pessimistic"
    (folder / "vop.yaml").write_text("evaluation: {ties: xpool}\n")
    again = vop("rescore", "s.h5", "--json")
    assert json.loads(again.stdout)["scorings"][0]["t2v"]["ties"] == "xpool"
