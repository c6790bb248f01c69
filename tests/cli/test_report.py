"""``vop report`` from run folders and files of ``vop eval``, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.pages import Outline, make_document
from tests.support.training import make_captioned_folder
from vopcli.cli.app import app
from vopcli.config.choices import Variant
from vopcli.methods.registry import METHODS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def vop(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def write(path: Path, *results: dict[str, Any]) -> str:
    path.write_text(json.dumps(list(results)))
    return str(path)


def seeded(variant: str, seed: int, ranks: list[float], **changes: Any) -> dict[str, Any]:
    return make_document(variant, 122_880, ranks, seed=seed, target=f"runs/{variant}-seed{seed}", **changes)


def test_runs_of_several_seeds_are_one_row_beside_the_published_one(folder: Path) -> None:
    results = [
        seeded("VoP", 0, [1, 1, 3, 9]),
        seeded("VoP", 1, [1, 2, 3, 9]),
        make_document("zero-shot", 0, [2, 2, 2, 2]),
    ]
    done = vop("report", write(folder / "a.json", *results), "--published", "msrvtt-9k")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    in_paper = [variant for variant, method in METHODS.items() if method.published_millions is not None]
    assert [row[:2] for row in rows] == [
        [way, variant.value] for way in ("t2v", "v2t") for variant in in_paper
    ]
    row = rows[in_paper.index(Variant.VOP)]
    assert row[2:4] == ["37.5 ± 17.7", "39.6"]
    assert row[-4:] == ["122,880", "0.1 M", "2", "test"]
    assert "by the authors" in done.stderr
    document = json.loads(vop("report", "a.json", "--published", "msrvtt-9k", "--json").stdout)
    figures = {group["label"]: group["t2v"]["R@1"] for group in document}
    assert figures["VoP"] == {"mean": 37.5, "deviation": pytest.approx(17.6777, abs=1e-3), "published": 39.6}
    assert figures["zero-shot"] == {"mean": 0.0, "deviation": None, "published": 31.5}


def test_the_benchmark_is_the_results_own_unless_given(folder: Path) -> None:
    source = write(folder / "a.json", seeded("VoP", 0, [1, 2], dataset="msrvtt-9k"), seeded("P", 0, [1, 2]))
    groups = json.loads(vop("report", source, "--json").stdout)
    assert [(group["label"], group["dataset"], group["t2v"]["R@1"]["published"]) for group in groups] == [
        ("VoP", "msrvtt-9k", 39.6),
        ("P", None, None),
    ]


def test_from_training_to_the_finished_page(folder: Path, training_store: Path) -> None:
    make_captioned_folder(folder, training_store)
    for arguments in (("both",), ("text", "--sides", "text")):
        done = vop("train", "--variant", "VoP", "--epochs", "1", "--seeds", "0,1", "--output", *arguments)
        assert done.exit_code == 0, done.stderr
    runs = [f"{output}/VoP-seed{seed}" for output in ("both", "text") for seed in (0, 1)]
    found = json.loads(vop("report", *runs, "--json").stdout)
    assert [(group["label"], group["runs"]) for group in found] == [
        ("VoP, prompt_length 3, sides both", runs[:2]),
        ("VoP, prompt_length 3, sides text", runs[2:]),
    ]
    assert all(group["measured_on"].startswith("validation: ") for group in found)

    measured = vop("eval", *runs, "--json")
    assert measured.exit_code == 0, measured.stderr
    (folder / "eval.json").write_text(measured.stdout)
    arguments = ("report", *runs, "eval.json", "--frames", "out.h5", "--queries", "2", "--html", "page.html")
    arguments += ("--figures", "figures")
    done = vop(*arguments)
    assert done.exit_code == 0, done.stderr
    assert len([*(folder / "figures").glob("*.svg")]) == 7
    assert {line.split("\t")[-1] for line in done.stdout.splitlines()} == {"test"}
    page = Outline((folder / "page.html").read_text(encoding="utf-8"))
    labels = {svg.get("aria-label") for svg in page.named("svg")}
    assert {"t2v R@1 and trained parameters", "By sides", "Training loss"} <= labels
    assert page.named("img")
    assert vop(*arguments).exit_code == 3
    assert vop(*arguments, "--overwrite").exit_code == 0


def test_a_run_that_trains_nothing_is_the_plain_backbone(folder: Path, training_store: Path) -> None:
    make_captioned_folder(folder, training_store)
    assert vop("train", "--variant", "zero-shot", "--epochs", "3").exit_code == 0
    alone = json.loads(vop("report", "runs/zero-shot-seed0", "--json").stdout)
    assert [(group["label"], set(group["settings"])) for group in alone] == [
        ("zero-shot", {"weights", "num_frames"})
    ]
    (folder / "eval.json").write_text(vop("eval", "zero-shot", "--json").stdout)
    both = json.loads(vop("report", "runs/zero-shot-seed0", "eval.json", "--json").stdout)
    assert [group["runs"] for group in both] == [["zero-shot"]]


def test_runs_on_other_data_are_no_seeds_of_one_another(folder: Path, training_store: Path) -> None:
    make_captioned_folder(folder, training_store)
    lines = (folder / "captions.jsonl").read_text().splitlines()
    (folder / "captions.jsonl").write_text("\n".join(line.replace("moves", "goes") for line in lines))
    short = ("--variant", "VoP", "--epochs", "1")
    assert vop("train", *short, "--seeds", "0,1").exit_code == 0
    (folder / "captions.jsonl").write_text("\n".join(lines))
    assert vop("train", *short, "--seed", "2").exit_code == 0
    assert vop("train", *short, "--seed", "3", "--set", "data.max_tokens=5").exit_code == 0
    runs = [f"runs/VoP-seed{seed}" for seed in range(4)]
    found = json.loads(vop("report", *runs, "--json").stdout)
    assert [group["runs"] for group in found] == [runs[:2], runs[2:3], runs[3:]]
    assert all(", max_tokens " in group["label"] for group in found)
    assert all(", data " in group["label"] for group in found)
    (folder / "eval.json").write_text(vop("eval", *runs, "--json").stdout)
    measured = json.loads(vop("report", *runs, "eval.json", "--json").stdout)
    assert [group["runs"] for group in measured] == [runs[:2], runs[2:3], runs[3:]]
    assert all(group["measured_on"].startswith("test") for group in measured)
    (folder / "max.json").write_text(vop("eval", *runs, "--json", "--pooling", "max").stdout)
    pooled = json.loads(vop("report", "eval.json", "max.json", "--json").stdout)
    told = [group["measured_on"].endswith(", frames pooled by max") for group in pooled]
    assert sorted(told) == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("gone.json",), 3, ("gone.json does not exist",)),
        ((".",), 3, (". is not a finished run", "vop eval --json")),
        (("text.json",), 3, ("text.json is not JSON",)),
        (("number.json",), 3, ("number.json does not hold results",)),
        (("poor.json",), 3, ("poor.json is not a result of this version's", "'target' is missing")),
        (("odd.json",), 3, ("odd.json is damaged: tuning: variant cannot be 'Q'",)),
        (("nan.json",), 3, ("nan.json is damaged: MnR is nan, not a number",)),
        (("huge.json",), 3, ("huge.json is damaged: num_trained is 1000",)),
        (("deep.json",), 3, ("deep.json is not JSON",)),
        (("good.json", "other.json", "--frames", "out.h5"), 2, ("measured on different captions",)),
        (("good.json", "--frames", "out.h5"), 3, ("out.h5 does not exist",)),
        (("bare.json",), 3, ("bare.json is damaged: 'NoneType' object is not iterable",)),
        (("good.json", "--published", "imagenet"), 2, ("imagenet",)),
        (("good.json", "--format", "md", "--json"), 2, ("--format and --json",)),
        (("good.json", "--html", "."), 3, (". is a folder",)),
        (
            ("good.json", "--html", "good.json", "--overwrite"),
            2,
            ("good.json is not the name of a page", ".html"),
        ),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, arguments: tuple[str, ...], code: int, parts: tuple[str, ...]
) -> None:
    good = seeded("VoP", 0, [1, 2])
    (folder / "text.json").write_text("hello")
    (folder / "number.json").write_text("3")
    (folder / "deep.json").write_text("[" * 100_000)
    write(folder / "poor.json", {"t2v": {}})
    write(folder / "odd.json", {**good, "tuning": {"variant": "Q"}})
    write(folder / "good.json", good)
    write(folder / "nan.json", {**good, "v2t": {**good["v2t"], "MnR": math.nan}})
    write(folder / "huge.json", {**good, "num_trained": 10**400})
    write(folder / "other.json", seeded("P", 0, [1, 2, 3]))
    write(folder / "bare.json", {**good, "answers": None, "target": "bare-run"})
    page = () if "--html" in arguments else ("--html", "page.html")
    done = vop("report", *arguments, *page)
    assert done.exit_code == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Usage: ")]
    assert [line.split(":")[0] for line in lines[-2:]] == ["Error", "Hint"]
    assert all(part in lines[-2] + lines[-1] for part in parts)


def test_frames_without_a_page_are_refused(folder: Path) -> None:
    source = write(folder / "a.json", seeded("VoP", 0, [1, 2]))
    done = vop("report", source, "--frames", "out.h5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "name the page with --html" in done.stderr


def test_tables_are_printed_in_other_formats(folder: Path) -> None:
    source = write(folder / "a.json", seeded("VoP", 0, [1, 2], dataset="msrvtt-9k"), seeded("P", 0, [1, 2]))
    markdown, latex, table = (
        vop("report", source, "--format", kind).stdout for kind in ("md", "latex", "csv")
    )
    assert markdown.count("| method |") == latex.count("method &") == 4, "both directions of both benchmarks"
    rows = [*csv.DictReader(io.StringIO(table))]
    [own] = [row for row in rows if row["method"] == "VoP" and row["table"].startswith("Text to video")]
    assert (own["R@1"], own["R@1 publ."], own["trained"]) == ("50.0", "39.6", "122880")
    assert {row["table"] for row in rows if row["method"] == "P" and row["trained"]} == {
        "Text to video (t2v)",
        "Video to text (v2t)",
    }
