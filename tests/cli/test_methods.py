"""``vop methods``."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from vopcli.cli.app import app
from vopcli.config.choices import Variant

RUNNER = CliRunner()


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_parameters_are_counted_for_any_backbone(folder: Path) -> None:
    done = vop("methods", "--weights", "ViT-B/32", "--num-frames", "12", "--json")
    counts = {item["variant"]: item["num_trained"] for item in json.loads(done.stdout)}
    assert list(counts) == [variant.value for variant in Variant]
    assert (counts["VoP"], counts["C+F"], counts["full"]) == (122_880, 14_278_656, 151_277_313)
    own = json.loads(vop("methods", "--num-frames", "3", "--json").stdout)  # the weights of vop.yaml
    assert {item["variant"]: item["num_trained"] for item in own}["VoP"] == 8 * (3 * 24 + 2 * 16)


def test_the_table_has_the_figures_of_the_paper() -> None:
    rows = [line.split("\t") for line in vop("methods", "--weights", "ViT-B/32").stdout.splitlines()]
    assert [row[0] for row in rows] == [variant.value for variant in Variant]
    assert [rows[7][0], rows[7][2]] == ["VoP", "122,880"]
    assert rows[7][3].startswith("0.1")


def test_frames_must_be_in_range() -> None:
    done = vop("methods", "--weights", "ViT-B/32", "--num-frames", "0")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--num-frames must be from 1 to 4096, not 0" in done.stderr
