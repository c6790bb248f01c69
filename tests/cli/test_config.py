"""`vop config show`: a settings file that gives the same settings again, with the place of each."""

import json
from pathlib import Path

from typer.testing import CliRunner

from vopcli.cli.app import app
from vopcli.config.load import load_config
from vopcli.config.schema import SETTINGS


def show(*words: str, **environment: str) -> str:
    done = CliRunner(env=environment).invoke(app, ["config", "show", *words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_the_output_is_a_settings_file_with_sources() -> None:
    Path("vop.yaml").write_text("data: {frames: 'ü # b.h5'}\ntraining: {lr: 1e-3, augment: true}")
    words = ("--preset", "msvd", "--set", "training.seed=4")
    text = show(*words)
    lines = {line.partition(":")[0].strip(): line.partition("  # ")[2] for line in text.splitlines()}
    assert (lines["lr"], lines["seed"], lines["ties"]) == ("vop.yaml", "--set training.seed", "default")
    assert lines["dataset"] == "preset msvd"
    Path("again.yaml").write_text(text, encoding="utf-8")
    expected = load_config(preset="msvd", assignments=["training.seed=4"])
    assert load_config(Path("again.yaml")) == expected
    document = json.loads(show(*words, "--json"))
    assert list(document) == list(SETTINGS)
    assert document["training.lr"] == {"value": 1e-3, "from": "vop.yaml"}


def test_a_variable_goes_before_the_file_and_behind_set() -> None:
    Path("vop.yaml").write_text("search: {index: of_file.h5}")
    variables = {"VOP_INDEX": "of_variable.h5", "VOP_WEIGHTS": ""}  # empty: as if it were not set
    document = json.loads(show("--json", **variables))
    assert document["search.index"] == {"value": "of_variable.h5", "from": "VOP_INDEX"}
    assert document["backbone.weights"] == {"value": None, "from": "default"}
    document = json.loads(show("--json", "--set", "search.index=of_set.h5", **variables))
    assert document["search.index"] == {"value": "of_set.h5", "from": "--set search.index"}


def test_rules_written_as_text_are_checked() -> None:
    for name in ("data.windows", "data.sampling", "search.pooling"):
        done = CliRunner().invoke(app, ["config", "show", "--set", f"{name}=x"])
        assert (done.exit_code, "x" in done.stderr) == (2, True), name
