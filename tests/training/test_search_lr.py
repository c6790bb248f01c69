"""The learning-rate search: which rates, which is best, and the table that is kept."""

from __future__ import annotations

import csv
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.training import before_layers
from vopcli.cli.app import app
from vopcli.errors import UsageError
from vopcli.methods.adapter_file import read_adapter
from vopcli.training.search_lr import best_rates, note_ends, parse_rates

SHORT = ("--variant", "VoP", "--epochs", "1", "--quiet")


def vop(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-6:1e-5", [1e-6, 3e-6, 1e-5]),
        ("0.001:0.01", [1e-3, 3e-3, 1e-2]),
        ("2e-4:4e-3", [3e-4, 1e-3, 3e-3]),
        ("5e-4:5e-4", [5e-4]),
        ("0.1:1", [0.1, 0.3, 1.0]),
    ],
)
def test_a_range_is_searched_in_half_decades(text: str, expected: list[float]) -> None:
    assert parse_rates(text) == expected


def test_the_range_of_the_paper_has_nine_rates() -> None:
    assert len(parse_rates("1e-6:1e-2")) == 9


@pytest.mark.parametrize("text", ["1e-3", "1e-2:1e-3", "0:1", "a:b", "nan:1", "1e-3:2", "1e-3:1e-2:1", ""])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a range of learning rates"):
        parse_rates(text)


def test_each_rate_is_a_run_of_its_own(folder: Path) -> None:
    done = vop("train", *SHORT, "--search-lr", "1e-3:1e-2")
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader(Path("runs/learning_rates.csv").read_text().splitlines()))
    assert [row["lr"] for row in rows] == ["0.001", "0.003", "0.01"]
    sums = {}
    for row in rows:
        summary = json.loads((Path(row["folder"]) / "summary.json").read_text())
        assert summary["lr"] == float(row["lr"])
        sums[row["lr"]] = summary["selected"]["t2v R@1"] + summary["selected"]["v2t R@1"]
        assert float(row["t2v R@1"]) + float(row["v2t R@1"]) == sums[row["lr"]]
    (marked,) = [line for line in done.stdout.splitlines() if line.rstrip().endswith("best")]
    assert marked.split()[1] == max(sums, key=lambda rate: (sums[rate], -float(rate)))
    assert ("the best learning rate" in done.stderr) is (marked.split()[1] != "0.003")

    assert vop("train", *SHORT, "--lr", "3e-3", "--output", "alone").exit_code == 0
    searched, alone = (read_adapter(Path(name)).sha256 for name in (rows[1]["folder"], "alone/VoP-seed0"))
    assert searched == alone


def test_an_interrupted_search_keeps_its_table_and_goes_on(folder: Path) -> None:
    search = ("train", *SHORT, "--search-lr", "3e-3:1e-2")
    assert vop("train", *SHORT, "--search-lr", "3e-3:3e-3").exit_code == 0
    first = Path("runs/lr-0.003/VoP-seed0/summary.json")
    before = json.loads(first.read_text())["seconds"]
    with before_layers(lambda *_: signal.raise_signal(signal.SIGINT)):
        assert vop(*search, "--resume").exit_code == 130
    assert len(Path("runs/learning_rates.csv").read_text().splitlines()) == 2
    done = vop(*search, "--resume")
    assert done.exit_code == 0, done.stderr
    assert len(Path("runs/learning_rates.csv").read_text().splitlines()) == 3
    assert json.loads(first.read_text())["seconds"] == before, "a finished run is not trained again"


def test_a_rate_that_diverges_is_left_out(folder: Path) -> None:
    first = Path("runs/lr-0.003/VoP-seed0/summary.json")

    def diverge(_: object, given: Any) -> None:
        if first.exists():
            given[0].data.fill_(math.nan)

    with before_layers(diverge):
        done = vop("train", *SHORT, "--search-lr", "3e-3:1e-2")
        assert done.exit_code == 0, done.stderr
        assert "Warning: runs/lr-0.01/VoP-seed0: the loss of step 0 is not finite" in done.stderr
        assert [line.split()[1] for line in done.stdout.splitlines() if line.endswith("best")] == ["0.003"]
        rows = csv.DictReader(Path("runs/learning_rates.csv").read_text().splitlines())
        assert [row["lr"] for row in rows] == ["0.003"]
        done = vop("train", *SHORT, "--search-lr", "3e-2:3e-2")
        assert (done.exit_code, "is not finite" in done.stderr) == (3, True)


def test_the_best_rate_has_all_seeds() -> None:
    found: list[Any] = [
        SimpleNamespace(
            plan=SimpleNamespace(variant="VoP", lr=rate),
            selected=SimpleNamespace(metrics={"t2v R@1": score, "v2t R@1": score}),
        )
        for rate, score in ((1e-3, 10.0), (1e-3, 20.0), (3e-3, 15.0), (3e-3, 15.0), (1e-2, 90.0))
    ]
    assert best_rates(found) == {"VoP": 1e-3}
    assert note_ends(found, [1e-3, 3e-3, 1e-2]) == [
        "VoP: the best learning rate, 0.001, is the lowest of the range; search a wider one"
    ]
    assert note_ends(found, [3e-4, 1e-3, 3e-3]) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--search-lr", "1e-2"), "is not a range"),
        (("--search-lr", "1e-3:1e-2", "--lr", "1e-3"), "training.lr 0.001 and --search-lr are both given"),
        (("--search-lr", "1e-3:1e-2", "--variant", "zero-shot"), "zero-shot, which trains nothing"),
    ],
)
def test_a_search_without_a_sense_is_refused(folder: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = vop("train", *arguments)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())
    assert not Path("runs").exists()
