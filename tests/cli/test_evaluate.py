"""``vop eval --html``: from a trained run to a page that opens by itself."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from tests.support.pages import Outline
from tests.support.training import FRAMES
from vopcli.cli.app import app

EVIL = "<script>alert(1)</script> & a 'red' thing"


def test_a_page_shows_what_was_measured(folder: Path) -> None:
    captions = folder / "captions.jsonl"
    lines = [json.loads(line) for line in captions.read_text().splitlines()]
    captions.write_text(
        "".join(json.dumps({**line, "caption": f"{EVIL} {line['caption']}"}) + "\n" for line in lines)
    )
    runner = CliRunner()
    trained = runner.invoke(app, ["train", "--variant", "VoP", "--epochs", "2"])
    assert trained.exit_code == 0, trained.stderr
    command = ["eval", "zero-shot", "runs/VoP-seed0", "--html", "page.html", "--queries", "2", "--json"]
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.stderr
    assert "wrote page.html" in done.stderr
    results = json.loads(done.stdout)
    outline = Outline((folder / "page.html").read_text(encoding="utf-8"))
    for result in results:
        assert f"{result['num_trained']:,}" in outline.text
        assert f"{result['t2v']['MnR']:.1f}" in outline.text
    assert not outline.named("script")
    assert outline.text.count(EVIL) == 4, "two that differ, two that are worst"
    pictures = outline.named("img")
    assert len(pictures) >= 2 * FRAMES
    assert all(picture["src"].startswith("data:image/jpeg;base64,/9j/") for picture in pictures)
    assert {"Training loss", "Learning rate"} <= {svg.get("aria-label") for svg in outline.named("svg")}

    again = runner.invoke(app, command)
    assert again.exit_code == 3
    assert "page.html exists already" in again.stderr
    done = runner.invoke(app, ["eval", "zero-shot", "--html", "page.html", "--queries", "0", "--overwrite"])
    assert done.exit_code == 0, done.stderr
    assert not Outline((folder / "page.html").read_text(encoding="utf-8")).named("img")


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "zero-shot", "--html", "captions.jsonl/page.html"])
    assert done.exit_code == 3
    assert "captions.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
