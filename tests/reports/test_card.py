"""Model cards: their metadata as the hub's own library reads them, and their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner, Result

from vopcli.cli.app import app


def vop(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def run(folder: Path) -> Path:
    assert vop("train", "--variant", "VoP", "--epochs", "1", "--quiet").exit_code == 0
    return Path("runs/VoP-seed0")


def test_a_card_has_the_results_of_its_run(run: Path) -> None:
    done = vop("eval", "zero-shot", str(run), "--split", "test", "--json")
    Path("eval.json").write_text(done.stdout)
    measured = json.loads(done.stdout)[1]

    done = vop("card", str(run), "--results", "eval.json", "--repository", "me/films")
    assert (done.exit_code, done.stdout) == (0, f"{run}/README.md\n"), done.stderr
    card = ModelCard.load(run / "README.md")
    assert card.data.model_name == "me/films"
    assert "VoP" in card.data.tags
    found = {
        (result.task_type, result.dataset_split, result.metric_type): result.metric_value
        for result in card.data.eval_results
    }
    for task, direction in (("text-to-video-retrieval", "t2v"), ("video-to-text-retrieval", "v2t")):
        for name in ("R@1", "R@5", "MnR"):
            assert found[task, "test", name] == round(measured[direction][name], 2)
    assert found["text-to-video-retrieval", "validation", "R@1"] >= 0
    assert "--adapter hf://me/films" in card.text
    assert f"{measured['t2v']['R@1']:.1f}" in card.text
    assert "zero-shot" not in card.text
    assert "| prompt length | 3 |" in card.text
    assert "| sides | both |" in card.text
    assert "adapter width" not in card.text  # VoP has no adapters


def test_a_card_names_the_model_and_no_folder(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    for weights, name, base in (
        ("/home/me/tiny.safetensors", "tiny.safetensors", None),
        ("vit-b-32", "ViT-B/32", "openai/clip-vit-base-patch32"),
        ("DFN2B-L/14", "DFN2B-L/14", "apple/DFN2B-CLIP-ViT-L-14"),
    ):
        (run / "config.yaml").write_text(text.replace("tiny.safetensors", weights))
        assert vop("card", str(run), "--overwrite").exit_code == 0
        card = ModelCard.load(run / "README.md")
        assert card.data.base_model == base
        assert f"--weights {name} " in card.text
        assert "/home" not in card.content


def test_a_card_is_not_overwritten_unless_asked(run: Path) -> None:
    assert vop("card", str(run)).exit_code == 0
    (run / "README.md").write_text("mine")
    again = vop("card", str(run))
    assert (again.exit_code, "exists already" in again.stderr) == (3, True)
    assert (run / "README.md").read_text() == "mine"
    assert vop("card", str(run), "--overwrite").exit_code == 0


def test_what_makes_no_card_is_refused(run: Path) -> None:
    Path("eval.json").write_text(vop("eval", "zero-shot", "--split", "test", "--json").stdout)
    done = vop("card", str(run), "--results", "eval.json")
    assert done.exit_code == 3
    assert "eval.json has no results of runs/VoP-seed0, only of zero-shot" in " ".join(done.stderr.split())
    measured = json.loads(vop("eval", str(run), "--split", "test", "--json").stdout)
    for name in ("eval.json", "again.json"):
        Path(name).write_text(json.dumps(measured))
    done = vop("card", str(run), "--results", "eval.json", "--results", "again.json")
    assert (
        done.exit_code,
        "eval.json, again.json have several results on the split test" in done.stderr,
    ) == (
        2,
        True,
    )
    Path("again.json").write_text(json.dumps(measured | {"dataset": "msvd"}))
    assert vop("card", str(run), "--results", "eval.json", "--results", "again.json").exit_code == 0
    found = {
        (one.dataset_type, one.dataset_split) for one in ModelCard.load(run / "README.md").data.eval_results
    }
    assert found == {("custom", "validation"), ("custom", "test"), ("msvd", "test")}
    done = vop("card", str(run), "--repository", "films")
    assert (done.exit_code, "is not the name of a repository" in done.stderr) == (2, True)
    done = vop("push", "nothing", "me/films")
    assert (done.exit_code, "nothing" in done.stderr) == (3, True)
