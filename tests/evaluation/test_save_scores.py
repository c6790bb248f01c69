"""``vop eval --save-sims`` and ``vop rescore``, from a frame store to the figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

import vopcli
from tests.support.ranking import expected_t2v, expected_v2t
from vopcli.cli.app import app
from vopcli.cli.info import describe_file
from vopcli.config.choices import TieRule
from vopcli.datasets.records import AnnotatedSplit, CaptionedVideo, SplitReport
from vopcli.errors import DataError
from vopcli.evaluation.rescore import rescore
from vopcli.evaluation.save_scores import thin_out
from vopcli.evaluation.score_file import Similarities, read_similarities, write_similarities
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress


def run(*command: str) -> Result:
    return CliRunner().invoke(app, list(command))


@pytest.fixture
def saved(folder: Path) -> dict[str, Any]:
    done = run("eval", "zero-shot", "--save-sims", "s.h5", "--bank", "7", "--json")
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def embed_split(folder: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int]]:
    """Captions, videos and owners through the Python interface."""
    model = vopcli.load_model(str(folder / "tiny.safetensors"), device="cpu", precision="fp32")
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] == split]
    names = list(dict.fromkeys(line["video"] for line in lines))
    store = FrameStore.open(folder / "out.h5")
    videos = {video.path: video for video in store.videos}
    frames = np.stack([store.read(videos[name]) for name in names])
    texts = model.encode_text([line["caption"] for line in lines])
    return texts, model.encode_video(frames), [names.index(line["video"]) for line in lines]


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


def test_the_file_holds_what_a_plain_product_gives(folder: Path, saved: dict[str, Any]) -> None:
    found = read_similarities(folder / "s.h5")
    texts, videos, owner = embed_split(folder, "test")
    np.testing.assert_allclose(found.similarity[:], texts @ videos.T, atol=2e-6)
    assert found.owner.tolist() == owner
    assert found.document["answers"] == saved["answers"]
    train_texts, _, _ = embed_split(folder, "train")
    test_scores = train_texts @ videos.T
    for row in np.asarray(found.bank[:]):  # each caption of the bank is one for training
        assert np.abs(test_scores - row).max(axis=1).min() < 2e-6
    assert found.val_similarity.shape == (4, 2)  # 0.3 of 7 videos, with two captions each
    assert found.bank.shape == (7, 3)
    assert found.val_bank.shape == (7, 2)


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
        (["zero-shot", "--split", "train"], 2, "'train' is measured"),
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
    assert "measuring" not in done.stderr


def test_a_changed_byte_is_found_and_a_file_of_another_kind_is_refused(
    folder: Path, saved: dict[str, Any]
) -> None:
    content = bytearray((folder / "s.h5").read_bytes())
    block = np.asarray(read_similarities(folder / "s.h5").bank[:]).tobytes()
    content[content.index(block) + 2] ^= 0x40
    (folder / "flipped.h5").write_bytes(content)
    problems = describe_file(folder / "flipped.h5", SilentProgress(), verify=True).problems
    assert problems == ["the checksum of bank does not match"]
    with pytest.raises(DataError, match=r"flipped\.h5 is damaged: the checksum of bank does not match"):
        rescore(folder / "flipped.h5")
    saved = read_similarities(folder / "s.h5")
    nan = replace(saved, bank=np.full(saved.bank.shape, np.nan, np.float32))
    write_similarities(folder / "nan.h5", nan, is_new=True)
    with pytest.raises(DataError, match=r"nan\.h5 is damaged: NaN or infinity"):
        rescore(folder / "nan.h5")
    with pytest.raises(DataError, match="vop-frames file, not a vop-similarities file"):
        rescore(folder / "out.h5")
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.h5"):
        rescore(folder / "cut.h5")


def test_a_bank_is_thinned_out_evenly() -> None:
    videos = tuple(CaptionedVideo(f"{i}", tuple(f"{i}-{j}" for j in range(4))) for i in range(25))
    split = AnnotatedSplit(videos, SplitReport("train", 25, 25, 25, 25, 100))
    kept = thin_out(split, 10).queries().texts
    assert len(kept) == 10
    assert len({text.split("-")[0] for text in kept}) == 10
    assert thin_out(split, 1000).queries().texts == split.queries().texts
