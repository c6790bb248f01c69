"""``vop rescore`` against plain loops over the saved scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from tests.support.ranking import expected_t2v, expected_v2t
from vopcli.cli.app import app
from vopcli.config.choices import TieRule
from vopcli.evaluation.rescore import rescore
from vopcli.evaluation.score_file import Similarities, read_similarities, write_similarities


def run(*command: str) -> Result:
    return CliRunner().invoke(app, list(command))


def plain_dual_softmax(scores: NDArray[np.float64], scale: float) -> list[list[float]]:
    logits = (scale * scores).tolist()
    count = len(logits)
    table = [[0.0] * len(logits[0]) for _ in logits]
    for column in range(len(logits[0])):
        peak = max(logits[row][column] for row in range(count))
        total = sum(math.exp(logits[row][column] - peak) for row in range(count))
        for row in range(count):
            value = logits[row][column]
            table[row][column] = value * (math.exp(value - peak) / total) * count
    return table


def plain_qb_norm(
    scores: NDArray[np.float64], bank: NDArray[np.float64], beta: float, top: int = 1
) -> list[list[float]]:
    activated = {video for row in bank for video in np.argsort(-row)[:top].tolist()}
    table = []
    for row in scores.tolist():
        if max(range(len(row)), key=row.__getitem__) in activated:
            sums = [sum(math.exp(beta * b[g]) for b in bank.tolist()) for g in range(len(row))]
            row = [math.exp(beta * value) / total for value, total in zip(row, sums, strict=True)]
        table.append(row)
    return table


def test_raw_scores_come_first_and_are_those_of_eval(folder: Path, saved: dict[str, Any]) -> None:
    for ties in (TieRule.AVERAGE, TieRule.PESSIMISTIC):
        found = rescore(folder / "s.h5", ties=ties).to_json()
        first = found["scorings"][0]
        assert (first["scoring"], first["uses_other_queries"], first["uses_bank"]) == ("plain", False, False)
        again = json.loads(run("eval", "zero-shot", "--json", "--ties", ties.value).stdout)
        for way in ("t2v", "v2t"):
            wanted = {key: value for key, value in again[way].items() if key not in {"ranks", "queries"}}
            assert first[way] == wanted


def test_rescored_figures_are_those_of_plain_loops(folder: Path, saved: dict[str, Any]) -> None:
    file = read_similarities(folder / "s.h5")
    scores = np.asarray(file.similarity[:], np.float64)
    owner = file.owner.tolist()
    plain, dual, qb = rescore(folder / "s.h5").to_json()["scorings"]
    scale = float(file.document["logit_scale"])
    expected = expected_t2v(plain_dual_softmax(scores, scale), owner, "average")
    assert dual["uses_other_queries"]
    assert dual["t2v"]["R@1"] == expected.recall(1)
    assert dual["t2v"]["MnR"] == pytest.approx(expected.mean())
    turned = np.array(plain_dual_softmax(scores.T.copy(), scale)).T
    back = expected_v2t(turned.tolist(), owner, "average")
    assert (dual["v2t"]["R@1"], dual["v2t"]["MnR"]) == (back.recall(1), pytest.approx(back.mean()))
    bank = np.asarray(file.bank[:], np.float64)
    expected = expected_t2v(plain_qb_norm(scores, bank, qb["beta"]), owner, "average")
    assert qb["uses_bank"]
    assert qb["v2t"] is None
    assert (qb["t2v"]["R@1"], qb["t2v"]["MnR"]) == (expected.recall(1), pytest.approx(expected.mean()))
    val = np.asarray(file.val_similarity[:], np.float64)
    val_bank = np.asarray(file.val_bank[:], np.float64)
    for beta, recall in qb["beta_tried_on_val"].items():
        tried = expected_t2v(plain_qb_norm(val, val_bank, float(beta)), file.val_owner.tolist(), "average")
        assert recall == tried.recall(1)
    assert qb["beta_tried_on_val"][f"{qb['beta']:g}"] == max(qb["beta_tried_on_val"].values())
    assert plain["t2v"]["R@1"] == saved["t2v"]["R@1"]


@pytest.mark.parametrize("top", [1, 2])
def test_scale_gate_and_validation_are_those_of_the_file(tmp_path: Path, top: int) -> None:
    random = np.random.default_rng(5)
    owner, val_owner = np.arange(40) % 12, np.arange(30) % 10
    scores, val = random.normal(0, 0.1, (40, 12)), random.normal(0, 0.1, (30, 10))
    scores[np.arange(40), owner] += 0.12
    val[np.arange(30), val_owner] += 0.12
    bank, val_bank = random.normal(0, 0.1, (4, 12)), random.normal(0, 0.1, (4, 10))
    scores, bank, val, val_bank = (part.astype(np.float32) for part in (scores, bank, val, val_bank))
    document = {"target": "made up", "logit_scale": 7.0, "val": "the split val"}
    content = Similarities(document, scores, owner, bank, val, val_owner, val_bank)
    write_similarities(tmp_path / "s.h5", content, is_new=True)
    _, dual, qb = rescore(tmp_path / "s.h5", top=top).to_json()["scorings"]
    wanted = [
        expected_t2v(plain_dual_softmax(scores.astype(float), scale), owner.tolist(), "average").mean()
        for scale in (7.0, 100.0)
    ]
    assert dual["t2v"]["MnR"] == pytest.approx(wanted[0]) != pytest.approx(wanted[1])
    assert (dual["uses_other_queries"], qb["uses_other_queries"]) == (True, False)
    tried, figures = (
        {
            other: {
                beta: expected_t2v(
                    plain_qb_norm(part.astype(float), known.astype(float), beta, other), own, "average"
                )
                for beta in map(float, qb["beta_tried_on_val"])
            }
            for other in (1, 2)
        }
        for part, known, own in ((val, val_bank, val_owner.tolist()), (scores, bank, owner.tolist()))
    )
    assert list(qb["beta_tried_on_val"].values()) == [found.recall(1) for found in tried[top].values()]
    assert figures[1][qb["beta"]].mean() != figures[2][qb["beta"]].mean()
    assert qb["t2v"]["MnR"] == pytest.approx(figures[top][qb["beta"]].mean())
    assert [found.recall(1) for found in tried[1].values()] != [
        found.recall(1) for found in tried[2].values()
    ]


def test_the_command_prints_raw_numbers_first(folder: Path, saved: dict[str, Any]) -> None:
    done = run("rescore", "s.h5")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        ["plain", "nothing else"],
        ["dual-softmax", "other test queries"],
        ["qb-norm", "training captions"],
    ]
    assert "7 training captions" in done.stderr
    assert [item["scoring"] for item in json.loads(run("rescore", "s.h5", "--json").stdout)["scorings"]] == [
        row[0] for row in rows
    ]
    shown = json.loads(run("info", "s.h5", "--verify", "--json").stdout)
    assert (shown["kind"], shown["captions"], shown["bank_captions"]) == ("vop-similarities", 6, 7)
    assert shown["problems"] == []
