"""``vop train``, ``vop eval`` and ``vop methods`` as a user types them, on a tiny set and a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import vopcli
from tests.support.clip import random_state
from tests.support.peers import open_clip_model
from tests.support.training import FRAMES, MODEL, PIXELS
from vopcli.cli.app import app
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Variant
from vopcli.frames.store import FrameStore
from vopcli.methods.adapter_file import read_adapter
from vopcli.weights.reader import Weights, write_safetensors

RUNNER = CliRunner()


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_a_run_folder_holds_all_that_is_promised(folder: Path) -> None:
    done = vop("train", "--variant", "f+p", "--seed", "3")
    assert done.exit_code == 0, done.stderr
    assert "runs/P+F-seed3: epoch" in done.stdout
    run = folder / "runs" / "P+F-seed3"
    names = {path.name for path in run.iterdir() if not path.name.startswith("events.")}
    assert names == {
        "adapter.safetensors",
        "last.safetensors",
        "last.ckpt",
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
    }
    assert list(run.glob("events.out.tfevents*"))
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["variant"], summary["seed"]) == ("P+F", 3)
    assert summary["num_train_videos"] + summary["num_val_videos"] == 7, "test videos are never trained on"
    assert "held out" in summary["selected"]["on"]
    adapter = read_adapter(run)
    assert (adapter.tuning.variant, adapter.num_frames) == (Variant.P_F, FRAMES)
    assert adapter.fingerprint == summary["backbone"]["fingerprint"]
    assert {name.partition(".")[0] for name in adapter.tensors} == {"text_prompts", "vision_prompts"}
    assert sum(tensor.size for tensor in adapter.tensors.values()) == summary["num_trained"]
    again = vop("eval", "--split", "test", "--config", str(run / "config.yaml"), "--json")
    found = json.loads(again.stdout)
    assert (found["target"], found["seed"], found["num_frames"]) == ("runs/P+F-seed3", 3, FRAMES)
    assert (found["tuning"]["prompt_length"], found["training"]["batch_size"]) == (3, 4)
    assert found["selected"]["epoch"] == summary["selected"]["epoch"]


def test_a_run_that_is_there_is_not_touched(folder: Path) -> None:
    assert vop("train", "--variant", "VoP", "--epochs", "1").exit_code == 0
    again = vop("train", "--variant", "VoP", "--epochs", "1")
    assert again.exit_code == 3
    assert "Error: runs/VoP-seed0 holds a run already" in again.stderr
    assert "--resume" in again.stderr
    other = vop("train", "--variant", "VoP", "--epochs", "2", "--resume")
    assert other.exit_code == 3
    assert "has different settings: training.epochs" in other.stderr
    before = (folder / "runs/VoP-seed0/adapter.safetensors").read_bytes()
    assert vop("train", "--variant", "VoP", "--epochs", "1", "--resume").exit_code == 0
    assert (folder / "runs/VoP-seed0/adapter.safetensors").read_bytes() == before
    assert vop("train", "--variant", "VoP", "--epochs", "2", "--overwrite").exit_code == 0


def test_variants_and_seeds_make_a_table(folder: Path) -> None:
    done = vop("train", "--variant", "VoP,zero-shot", "--seeds", "0,1", "--quiet")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[-2:]]
    assert [row[:3] for row in rows] == [["VoP", str(3 * (3 * 24 + 2 * 16)), "2"], ["zero-shot", "0", "2"]]
    assert all("±" in cell for cell in rows[0][3:])
    runs = [f"runs/VoP-seed{seed}" for seed in (0, 1)]
    assert not np.array_equal(*(read_adapter(Path(run)).tensors["text_prompts.table"] for run in runs))


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    done = vop("train", "--variant", "C", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert (plan["steps_per_epoch"], plan["num_steps"], plan["negatives_per_step"]) == (3, 6, 3)
    assert plan["estimated_bytes"] > 0
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("variants", ["P", "P,VoP"])
def test_splits_are_checked_before_weights_are_downloaded(
    folder: Path, training_store: Path, variants: str
) -> None:
    videos = str(training_store.parent / "videos")
    made = vop("extract-frames", videos, "large.h5", "--num-frames", "1", "--size", "224", "--workers", "0")
    assert made.exit_code == 0, made.stderr
    words = ("--weights", "ViT-B/32", "--frames", "large.h5", "--set", "training.val_share=0.01")
    done = vop("train", "--variant", variants, *words)
    assert done.exit_code == 3
    assert "Error: 0.01 of 7 training videos leaves no videos" in done.stderr
    assert not (folder / "cache").exists()


def test_a_debug_log_tells_what_is_computed_how(folder: Path, training_store: Path) -> None:
    done = vop("-v", "train", "--variant", "P", "--device", "cpu", "--dry-run", "--quiet")
    threads = torch.get_num_threads()
    assert f"device: cpu, precision: fp32, threads: {threads}" in done.stderr
    assert f"frames: out.h5, 10 videos, {FrameStore.open(training_store).recipe}" in done.stderr
    assert "train: 5 videos, 10 captions" in done.stderr
    assert "train: 2 videos, 4 captions" in done.stderr  # held out for validation
    done = vop("-v", "encode", "out.h5", "index.h5", "--quiet", "--device", "cpu")
    sampling = FrameStore.open(training_store).recipe.sampling
    assert f"videos: 10 to encode, 0 to copy, 0 unchanged, sampled by {sampling}" in done.stderr
    done = vop("-v", "search", "a thing", "--index", "index.h5")
    assert "index: index.h5, 10 videos, made with" in done.stderr
    videos = str(training_store.parent / "videos")
    done = vop("-v", "extract-frames", videos, "out.h5", "--dry-run")
    assert "videos: 10 found, 0 to decode, as " in done.stderr


def expected_similarity(folder: Path, texts: list[str]) -> tuple[torch.Tensor, list[str]]:
    """Cosines of captions and test videos, computed with open_clip's towers."""
    peer = open_clip_model(MODEL, random_state(MODEL))
    store = FrameStore.open(folder / "out.h5")
    videos = store.videos[7:]
    frames = torch.from_numpy(np.stack([store.read(video) for video in videos])).float() / 255
    pixels = (frames - torch.tensor(PIXELS.mean)) / torch.tensor(PIXELS.std)
    ids, _ = Tokenizer().tokenize(texts)
    padded = torch.zeros(len(ids), 77, dtype=torch.int64)
    padded[:, : ids.shape[1]] = torch.from_numpy(ids)
    with torch.no_grad():
        images = peer.encode_image(pixels.flatten(0, 1).permute(0, 3, 1, 2), normalize=True)
        video = torch.nn.functional.normalize(images.view(len(videos), FRAMES, -1).mean(1), dim=-1)
        text = peer.encode_text(padded, normalize=True)
    return text @ video.T, [video.path for video in videos]


def test_the_plain_backbone_is_measured_as_by_hand(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    test = [line for line in lines if line["split"] == "test"]
    similarity, paths = expected_similarity(folder, [line["caption"] for line in test])
    owners = torch.tensor([paths.index(line["video"]) for line in test])
    own = similarity[torch.arange(len(test)), owners]
    ranks = 1 + (similarity > own[:, None]).sum(1)
    best = torch.stack([similarity[owners == video].max(0).values for video in range(len(paths))], 1)
    back = 1 + (best > best.diagonal()[:, None]).sum(1)  # row: video asks, column: owner of the captions
    done = vop("eval", "zero-shot", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["t2v"]["ranks"] == ranks.tolist()
    assert found["v2t"]["ranks"] == back.tolist()
    assert (found["t2v"]["num_queries"], found["t2v"]["gallery_size"]) == (6, 3)
    assert found["t2v"]["R@1"] == pytest.approx(100 * float((ranks <= 1).double().mean()))
    assert found["answers"] == [
        {"caption": line["caption"], "video": line["video"], "top": [paths[video] for video in top]}
        for line, top in zip(test, similarity.argsort(1, descending=True).tolist(), strict=True)
    ]
    assert (found["selected"], found["seed"], found["training"]) == (None, None, None)


def test_a_captions_budget_is_kept_when_measuring(folder: Path) -> None:
    short = ("--set", "data.max_tokens=5")
    assert vop("train", "--variant", "VoP", "--epochs", "1", *short).exit_code == 0
    assert json.loads(vop("info", "runs/VoP-seed0", "--json").stdout)["max_tokens"] == 5
    own = vop("eval", "--json")
    both = vop("eval", "zero-shot", "runs/VoP-seed0", "--json")
    assert [found["max_tokens"] for found in json.loads(both.stdout)] == [77, 5]
    found = json.loads(own.stdout)
    assert (found["max_tokens"], found["num_cut_captions"]) == (5, 6)
    assert found["trained_on"]["max_tokens"] == 5
    assert "tokens" not in own.stderr
    other = vop("eval", "--max-tokens", "9", "--json")
    assert json.loads(other.stdout)["max_tokens"] == 9
    warned = "Warning: runs/VoP-seed0 was trained on captions of up to 5 tokens, not 9\n"
    assert warned in other.stderr


def test_other_frames_than_the_settings_ask_for_are_told(folder: Path) -> None:
    plan = ("train", "--variant", "VoP", "--dry-run")
    asked = "the frames of out.h5 differ from the settings: "
    for settings, told in (
        ("sampling=uniform", f"{asked}sampling uniform:3, not uniform:12"),
        ("num_frames=4", f"{asked}sampling uniform:3, not uniform:4"),
        ("size=224", f"{asked}size 16, not 224"),
        ("candidates=3", f"{asked}sampling uniform:3, not uniform:12x3"),
        ("sampling=uniform:3x3", f"{asked}sampling uniform:3, not uniform:3x3"),
    ):
        done = vop(*plan, "--set", f"data.{settings}")
        assert done.exit_code == 0
        assert f"Warning: {told}\n" in done.stderr
    for settings in ("sampling=uniform:3", "num_frames=3", "size=16"):
        assert asked not in vop(*plan, "--set", f"data.{settings}").stderr
    assert asked in vop("eval", "zero-shot", "--set", "data.size=224").stderr


@pytest.mark.parametrize("sampling", ["uniform", "clip4clip"])
def test_other_frames_than_an_adapters_are_told(folder: Path, sampling: str) -> None:
    assert vop("train", "--variant", "VoP", "--epochs", "1").exit_code == 0
    store = FrameStore.open(folder / "out.h5")
    extract = ("--sampling", sampling, "--num-frames", "3", "--size", "16", "--codec", "jpeg")
    assert vop("extract-frames", store.videos[0].root, "other.h5", *extract, "--workers", "0").exit_code == 0
    for command in (
        ("eval", "--frames", "other.h5"),
        ("encode", "other.h5", f"{sampling}.h5", "--adapter", "runs/VoP-seed0"),
    ):
        done = vop(*command, *(("--weights", "tiny.safetensors") if command[0] == "encode" else ()))
        assert done.exit_code == 0, done.stderr
        assert ("sampling clip4clip:3, not uniform:3\n" in done.stderr) is (sampling == "clip4clip")
        named = "holds different frames" if command[0] == "eval" else "was tuned on"
        assert (named in done.stderr) is (sampling == "clip4clip")


def test_the_runs_of_a_preset_are_found(folder: Path) -> None:
    output = ("--set", "training.output=runs/preset")
    assert vop("train", "--variant", "zero-shot", *output).exit_code == 0
    done = vop("eval")
    assert done.exit_code == 3
    assert "Hint: name one, such as runs/preset/zero-shot-seed0, or the --preset that" in done.stderr
    assert json.loads(vop("eval", *output, "--json").stdout)["target"] == "runs/preset/zero-shot-seed0"


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("train", "--variant", "P+G"), 2, ("--variant cannot be 'P+G'", "P+F")),
        (("train", "--seeds", "a"), 2, ("'a' is not a list of seeds",)),
        (("train", "--lr", "-1"), 2, ("--lr must be from 0.0 to 10.0, not -1.0",)),
        (("train", "--frames", "gone.h5"), 3, ("gone.h5 does not exist",)),
        (("train", "--captions", "gone.jsonl"), 3, ("gone.jsonl does not exist",)),
        (("train", "--split-layer", "7", "--variant", "F"), 2, ("split_layer 7 is more than",)),
        (("eval",), 3, ("runs does not hold a finished run",)),
        (("eval", "zero-shot", "--set", "data.frames="), 2, ("no frame store is given", "--frames")),
        (("train", "--set", "data.captions="), 2, ("neither captions nor a benchmark is given",)),
        (("eval", "zero-shot", "--split", "nothing"), 2, ("has no split 'nothing'", "train (7 videos)")),
        (("eval", "zero-shot", "gone"), 3, ("gone does not exist", "runs/*")),
        (("eval", "zero-shot", "."), 3, ("adapter.safetensors does not exist", "runs/*")),
        (
            ("eval", "captions.jsonl"),
            3,
            ("captions.jsonl is not an adapter file", "pass adapter.safetensors"),
        ),
        (("eval", "tiny.safetensors"), 3, ("tiny.safetensors is not an adapter file",)),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, arguments: tuple[str, ...], code: int, parts: tuple[str, ...]
) -> None:
    done = vop(*arguments)
    assert done.exit_code == code, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["Error", "Hint"]
    assert all(part in lines[-2] + lines[-1] for part in parts)


def test_an_adapter_of_another_backbone_is_refused(folder: Path) -> None:
    assert vop("train", "--variant", "VoP", "--epochs", "1").exit_code == 0
    other = Weights(folder, "other", "random", MODEL, dict(random_state(MODEL, seed=9)))
    write_safetensors(other, folder / "other.safetensors")
    done = vop("eval", "--weights", "other.safetensors")
    assert done.exit_code == 3
    assert "Error: runs/VoP-seed0/adapter.safetensors was trained on a backbone other" in done.stderr


@pytest.mark.parametrize("variant", ["P+F", "C", "bias", "adapter-ffn"])
def test_an_adapter_encodes_and_searches_as_the_tuned_model_does(folder: Path, variant: str) -> None:
    assert vop("train", "--variant", variant, "--epochs", "3", "--lr", "0.02").exit_code == 0
    run = f"runs/{variant}-seed0"
    done = vop("encode", "out.h5", "idx.h5", "--adapter", run, "--precision", "fp32")
    assert done.exit_code == 0, done.stderr
    query = "number 3, a red thing"
    found = json.loads(vop("search", query, "--index", "idx.h5", "--json").stdout)
    hits = found["hits"] if isinstance(found, dict) else found
    model = vopcli.load_model("tiny.safetensors", run, device="cpu", precision="fp32")
    store = FrameStore.open(folder / "out.h5")
    frames = np.stack([store.read(video) for video in store.videos])
    scores = model.encode_video(frames) @ model.encode_text([query])[0]
    expected = {video.path: float(score) for video, score in zip(store.videos, scores, strict=True)}
    assert {hit["path"]: hit["score"] for hit in hits} == pytest.approx(expected, abs=1e-4)
    assert vop("index", "rm", "idx.h5", store.videos[0].path).exit_code == 0
    assert "1 new" in vop("encode", "out.h5", "idx.h5", "--precision", "fp32").stderr  # with its own adapter
    again = json.loads(vop("search", query, "--index", "idx.h5", "--json").stdout)["hits"]
    assert {hit["path"]: hit["score"] for hit in again} == pytest.approx(expected, abs=1e-4)
    Image.fromarray(frames[0, 0]).save("shot.png")  # as a video that shows it all the time
    vector = model.encode_video(frames[:1, :1].repeat(FRAMES, axis=1))[0]
    expected = {hit.path: hit.score for hit in vopcli.open_index("idx.h5").search(vector)}
    again = json.loads(vop("search", "--image", "shot.png", "--index", "idx.h5", "--json").stdout)["hits"]
    assert {hit["path"]: hit["score"] for hit in again} == pytest.approx(expected, abs=1e-4)
    assert vop("index", "rm", "idx.h5", store.videos[0].path).exit_code == 0
    (folder / run / "adapter.safetensors").rename(folder / run / "moved.safetensors")
    refused = vop("search", "--image", "shot.png", "--index", "idx.h5")
    assert (refused.exit_code, "Hint: name it with --adapter" in refused.stderr) == (3, True)
    moved = ("--adapter", f"{run}/moved.safetensors")
    assert vop("search", "--image", "shot.png", "--index", "idx.h5", *moved).exit_code == 0
    refused = vop("encode", "out.h5", "idx.h5")
    assert refused.exit_code == 3
    assert f"was made with an adapter ({variant}), which cannot be read" in refused.stderr
    with pytest.raises(ValueError, match=f"videos have 2 frames, the model was tuned for {FRAMES}"):
        model.encode_video(frames[:, :2])


def test_info_describes_an_adapter_and_a_run(folder: Path) -> None:
    assert vop("train", "--variant", "P", "--epochs", "1").exit_code == 0
    for path in ("runs/P-seed0", "runs/P-seed0/adapter.safetensors"):
        found = json.loads(vop("info", path, "--json").stdout)
        assert (found["kind"], found["variant"], found["num_frames"]) == ("vop-adapter", "P", FRAMES)
        assert found["trained"] == 3 * 2 * 24 + 3 * FRAMES * 1 * 24 + 2 * 3 * 16


def test_candidates_are_for_training_alone(
    folder: Path, training_store: Path, candidates_store: Path, tmp_path: Path
) -> None:
    assert vop("train", "--variant", "VoP", "--frames", str(candidates_store)).exit_code == 0
    run = folder / "runs" / "VoP-seed0"
    adapter = read_adapter(run)
    assert (adapter.num_frames, adapter.recipe["sampling"]) == (FRAMES, f"uniform:{FRAMES}")
    assert json.loads((run / "summary.json").read_text())["sampling"] == f"uniform:{FRAMES}x3"
    found = []
    for store in (candidates_store, training_store):
        measured = vop("eval", str(run), "zero-shot", "--frames", str(store), "--json")
        assert measured.exit_code == 0, measured.stderr
        assert "differ from" not in measured.stderr
        found.append(json.loads(measured.stdout))
    assert found[0] == found[1]
    for store in (candidates_store, training_store):  # the second has nothing left to do
        encoded = vop("encode", str(store), str(tmp_path / "i.h5"), "--adapter", str(run), "--json")
        assert encoded.exit_code == 0, encoded.stderr
        assert "tuned on" not in encoded.stderr
    assert json.loads(encoded.stdout)["num_new"] == 0
    resumed = vop("train", "--variant", "VoP", "--frames", str(training_store), "--resume")
    assert "has different settings: data.frames" in resumed.stderr
