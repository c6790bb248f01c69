"""``vop eval --save-sims``: pooling, refusals, and the bank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import vopcli
from tests.support.ranking import expected_t2v
from vopcli.cli.app import app
from vopcli.datasets.records import AnnotatedSplit, CaptionedVideo, SplitReport
from vopcli.evaluation.rescore import rescore
from vopcli.evaluation.save_scores import thin_out
from vopcli.evaluation.score_file import read_similarities
from vopcli.frames.store import FrameStore


def run(*command: str) -> Result:
    return CliRunner().invoke(app, list(command))


@pytest.mark.parametrize("rule", ["mean-raw", "max", "top-2", "attention:0.05"])
def test_eval_pools_as_a_plain_loop_does(folder: Path, rule: str) -> None:
    done = run("eval", "zero-shot", "--json", "--pooling", rule, "--save-sims", "p.h5")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    model = vopcli.load_model(str(folder / "tiny.safetensors"), device="cpu", precision="fp32")
    store = FrameStore.open(folder / "out.h5")
    videos = {video.path: video for video in store.videos}
    names = list(dict.fromkeys(answer["video"] for answer in result["answers"]))
    texts = model.encode_text([answer["caption"] for answer in result["answers"]])
    frames = model.encode_frames(np.stack([store.read(videos[name]) for name in names]))
    cosines = np.sort(np.einsum("qe,gfe->qgf", texts, frames, dtype=np.float64), axis=-1)
    weights = np.exp(cosines / 0.05)
    expected = {
        "mean-raw": cosines.mean(axis=-1),
        "max": cosines[..., -1],
        "top-2": cosines[..., -2:].mean(axis=-1),
        "attention:0.05": (weights * cosines).sum(axis=-1) / weights.sum(axis=-1),
    }[rule]
    assert result["pooling"] == rule
    found = read_similarities(folder / "p.h5")
    np.testing.assert_allclose(found.similarity[:], expected, atol=2e-6)
    run("eval", "zero-shot", "--pooling", rule, "--split", "train", "--save-sims", "t.h5", "--bank", "0")
    of_train = np.asarray(read_similarities(folder / "t.h5").similarity[:])
    of_val = np.asarray(found.val_similarity[:])  # some of the same captions and videos
    assert np.abs(of_train.reshape(-1, 1) - of_val.reshape(-1)).min(axis=0).max() < 2e-6
    owner = [names.index(answer["video"]) for answer in result["answers"]]
    ranks = expected_t2v(np.asarray(found.similarity[:]).tolist(), owner, "average").ranks
    assert result["t2v"]["ranks"] == ranks
    assert rescore(folder / "p.h5").to_json()["scorings"][0]["t2v"]["MnR"] == result["t2v"]["MnR"]


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        (["zero-shot", "zero-shot"], 2, "s.h5 can hold one model, but 2 are named"),
        (["zero-shot", "--split", "train"], 2, "'train' is evaluated"),
        (["zero-shot", "--save-sims", "captions.jsonl"], 3, "captions.jsonl exists already"),
        (["zero-shot", "--save-sims", "out.h5", "--overwrite"], 3, "out.h5 does not hold saved scores and"),
        (["zero-shot", "--save-sims", "vop.yaml", "--overwrite"], 3, "vop.yaml is not an HDF5 file"),
        (["zero-shot", "--save-sims", ".", "--overwrite"], 3, "is a folder"),
        (["zero-shot", "--set", "training.val_share=0.01"], 3, "leaves no videos to train or to validate on"),
    ],
)
def test_what_cannot_be_saved_is_refused_first(
    folder: Path, command: list[str], code: int, problem: str
) -> None:
    done = run("eval", "--save-sims", "s.h5", *command)
    assert (done.exit_code, problem in done.stderr) == (code, True), done.stderr
    assert not (folder / "s.h5").exists()
    assert "eval:" not in done.stderr


def test_captions_without_a_training_split_are_saved_without_a_bank(folder: Path) -> None:
    lines = [line for line in Path("captions.jsonl").read_text().splitlines() if '"test"' in line]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    refused = run("eval", "zero-shot", "--save-sims", "s.h5")
    assert (refused.exit_code, "--bank 0" in refused.stderr) == (2, True), refused.stderr
    assert "captions.jsonl has no split 'train'" in refused.stderr
    assert run("eval", "zero-shot", "--save-sims", "s.h5", "--bank", "0").exit_code == 0


def test_a_bank_is_thinned_out_evenly() -> None:
    videos = tuple(CaptionedVideo(f"{i}", tuple(f"{i}-{j}" for j in range(4))) for i in range(25))
    split = AnnotatedSplit(videos, SplitReport("train", 25, 25, 25, 25, 100))
    kept = thin_out(split, 10).queries().texts
    assert len(kept) == 10
    assert len({text.split("-")[0] for text in kept}) == 10
    assert thin_out(split, 1000).queries().texts == split.queries().texts
