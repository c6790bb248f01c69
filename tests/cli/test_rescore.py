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


def test_queries_without_a_match_are_judged(folder: Path) -> None:
    assert vop("eval", "zero-shot", "--save-sims", "s.h5", "--split", "test").exit_code == 0
    rows = [line.split("\t") for line in vop("rescore", "s.h5", "--absent").stdout.splitlines()]
    found = json.loads(vop("rescore", "s.h5", "--absent", "--json").stdout)["absent"]
    assert [row[0] for row in rows] == ["cosine", "confidence"]
    assert [row[2] for row in rows] == [f"{one['auroc']:.3f}" for one in found]
    assert all(one["found_percent"] >= 95 for one in found[:-1])


def test_sentences_are_trained_measured_and_reported_with_their_own_metrics(folder: Path) -> None:
    settings = (folder / "vop.yaml").read_text()
    (folder / "vop.yaml").write_text(settings.replace("data: {", "data: {queries: sentences, "))
    trained = vop("train", "--variant", "VoP", "--epochs", "1")
    assert trained.exit_code == 0, trained.stderr
    done = vop("eval", "runs/VoP-seed0", "--save-sims", "s.h5", "--bank", "0")
    assert "each sentence finds its whole video" in done.stderr
    found = json.loads(vop("eval", "runs/VoP-seed0", "--json").stdout)
    names = ("R@1", "R@5", "R@10", "R@100", "SumR")
    texts = [f"{found[way][name]:.1f}" for way in ("t2v", "v2t") for name in names]
    assert done.stdout.strip().split("\t")[2:] == texts
    assert found["published"] is None

    assert vop("rescore", "s.h5").stdout.splitlines()[0].split("\t")[2:] == texts
    assert json.loads(vop("info", "s.h5", "--json").stdout)["queries"] == "sentences"

    (folder / "a.json").write_text(json.dumps(found))
    for source in ("a.json", "runs/VoP-seed0"):
        [group] = json.loads(vop("report", source, "--json").stdout)
        assert group["measured_on"].endswith("single sentences of the captions")
        assert group["t2v"]["R@100"]["mean"] == 100
        assert (group["dataset"], group["t2v"]["SumR"]["published"]) == (None, None)
        row = vop("report", source).stdout.splitlines()[0].split("\t")
        assert row[7:9] == [f"{group['t2v'][name]['mean']:.1f}" for name in names[-2:]]
