"""Run folders, several runs in one command, and what is refused before any of them takes its time."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from tests.support.training import before_layers
from vopcli.cli.app import app
from vopcli.clip.transformer import Block
from vopcli.frames.store import FrameStore
from vopcli.methods.adapter_file import read_adapter, write_adapter
from vopcli.training.run_log import open_log

RUNNER = CliRunner()
SHORT = ("--variant", "VoP", "--epochs", "1")


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def refused(done: Result, code: int, problem: str, hint: str) -> None:
    assert done.exit_code == code, done.stderr
    assert done.stderr.splitlines()[-2].startswith(f"Error: {problem}"), done.stderr
    assert hint in done.stderr.splitlines()[-1]


def test_checkpointing_recomputes_and_changes_nothing(folder: Path) -> None:
    passes = {}
    for output, options in (("runs", ()), ("less", ("--checkpointing",))):
        trained: list[nn.Module] = []
        with before_layers(
            lambda layer, _, trained=trained: trained.append(layer) if layer.training else None
        ):
            assert vop("train", *SHORT, "--output", output, *options).exit_code == 0
        passes[output] = len(trained)
    assert passes["less"] == 2 * passes["runs"] > 0
    found, expected = (read_adapter(Path(name) / "VoP-seed0").sha256 for name in ("less", "runs"))
    assert found == expected


def test_what_stops_a_later_run_stops_the_first(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    both = ("--variant", "P,VoP", "--epochs", "1")
    refused(vop("train", *both), 3, "runs/VoP-seed0 holds a run already", "--resume")
    assert not (folder / "runs/P-seed0").exists()
    wrong = ("--variant", "F,P+F", "--set", "tuning.specific_length=3", "--epochs", "1")
    refused(vop("train", *wrong), 2, "tuning.specific_length 3 leaves none of 3 prompts", "vop.yaml")
    refused(
        vop("train", "--variant", "F,P", "--layers", "4"), 2, "tuning.layers '4' is not within", "--sides"
    )
    assert not (folder / "runs/F-seed0").exists()
    done = vop("train", *both, "--resume")
    assert done.exit_code == 0, done.stderr
    assert (folder / "runs/P-seed0/summary.json").exists()


def test_a_run_that_is_named_twice_is_one(folder: Path) -> None:
    done = vop("train", "--variant", "VoP,vop", "--seeds", "5,5", "--epochs", "1")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert [path.name for path in (folder / "runs").iterdir()] == ["VoP-seed5"]


def test_resume_and_overwrite_contradict_each_other(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    before = (folder / "runs/VoP-seed0/last.ckpt").stat().st_mtime_ns
    refused(
        vop("train", *SHORT, "--resume", "--overwrite"),
        2,
        "--resume and --overwrite exclude",
        "omit one",
    )
    assert (folder / "runs/VoP-seed0/last.ckpt").stat().st_mtime_ns == before


def test_an_interrupted_run_says_how_to_go_on(folder: Path) -> None:
    with before_layers(lambda *_: signal.raise_signal(signal.SIGINT)):
        done = vop("train", *SHORT)
    assert done.exit_code == 130
    (line,) = [line for line in done.stderr.splitlines() if "nterrupted" in line]
    assert "run the same command with --resume to continue" in line
    assert vop("train", *SHORT, "--resume").exit_code == 0


@pytest.mark.parametrize("output", ["captions.jsonl", "captions.jsonl/below"])
def test_an_output_that_is_no_folder_is_named(folder: Path, output: str) -> None:
    done = vop("train", *SHORT, "--output", output)
    refused(done, 3, f"{output}/VoP-seed0 lies below something that is not a folder", "check the path")


def test_overwriting_a_link_leaves_what_it_leads_to(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    run = folder / "runs/VoP-seed0"
    run.rename(folder / "elsewhere")
    run.symlink_to(folder / "elsewhere")
    before = (folder / "elsewhere/summary.json").stat().st_mtime_ns
    done = vop("train", *SHORT, "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert not run.is_symlink()
    assert (folder / "elsewhere/summary.json").stat().st_mtime_ns == before


def test_a_rate_of_zero_is_not_the_default(folder: Path) -> None:
    plan = json.loads(vop("train", "--variant", "VoP", "--lr", "0", "--dry-run", "--json").stdout)
    assert plan["lr"] == 0.0


def test_negatives_are_those_that_there_are(folder: Path) -> None:
    plan = json.loads(vop("train", "--batch-size", "32", "--dry-run", "--json").stdout)
    assert plan["negatives_per_step"] == plan["num_train_captions"] - 1


def test_videos_in_two_splits_are_told(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    tested = next(line["video"] for line in lines if line["split"] == "test")
    shared = json.dumps({"video": tested, "caption": "once more", "split": "train"})
    (folder / "captions.jsonl").write_text("\n".join([*map(json.dumps, lines), shared]))
    for command in (("train", *SHORT), ("eval",)):
        done = vop(*command)
        assert done.exit_code == 0, done.stderr
        told = f"Warning: captions.jsonl: 1 videos are in 'train' and in 'test': {tested}\n"
        assert done.stderr.count(told) == 1


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_eval_takes_a_precision(folder: Path, name: str, dtype: torch.dtype) -> None:
    seen = set()
    with before_layers(lambda _, given: seen.add(given[0].dtype)):
        assert vop("eval", "zero-shot", "--precision", name).exit_code == 0
    assert seen == {dtype}


def test_an_adapter_that_gives_no_numbers_is_refused(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    adapter = read_adapter(Path("runs/VoP-seed0"))
    for file, value in (("nan.safetensors", np.nan), ("large.safetensors", 1e30)):
        tensors = {name: np.full_like(tensor, value) for name, tensor in adapter.tensors.items()}
        write_adapter(Path(file), dataclasses.replace(adapter, tensors=tensors))
    refused(vop("eval", "nan.safetensors"), 3, "nan.safetensors is damaged: it contains NaN", "copied")
    refused(
        vop("eval", "large.safetensors"),
        3,
        "the embedding is not finite for 'number 7",
        "--precision fp32",
    )


def test_another_number_of_frames_than_the_adapters_is_refused_at_once(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    videos = FrameStore.open(folder / "out.h5").videos[0].root
    extract = ("--num-frames", "2", "--size", "16", "--workers", "0")
    assert vop("extract-frames", videos, "two.h5", *extract).exit_code == 0
    refused(
        vop("eval", "--frames", "two.h5"),
        3,
        "runs/VoP-seed0 was trained on 3 frames per video, two.h5 holds 2",
        "--num-frames 3",
    )
    done = vop("encode", "two.h5", "i.h5", "--adapter", "runs/VoP-seed0", "--weights", "tiny.safetensors")
    refused(done, 3, "runs/VoP-seed0 was tuned on 3 frames per video, these have 2", "--num-frames 3")
    assert not (folder / "i.h5").exists()


@pytest.mark.parametrize("arguments", [("train", *SHORT), ("eval", "zero-shot")])
def test_memory_that_gives_out_while_measuring_costs_time_alone(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    def run_out(layer: Block, given: tuple[torch.Tensor]) -> None:
        is_vision = not layer.attn.is_causal
        if is_vision and not torch.is_grad_enabled() and len(given[0]) > 3:  # frames of one video
            raise torch.OutOfMemoryError("CUDA out of memory")

    expected = vop(*arguments)
    with before_layers(run_out):
        done = vop(*arguments, *(("--overwrite",) if arguments[0] == "train" else ()))
    assert done.exit_code == 0, done.stderr
    assert "Warning: out of memory: continuing with batches of 1 videos" in done.stderr
    assert done.stdout == expected.stdout


def test_a_flipped_bit_of_an_adapter_is_seen(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    file = folder / "runs/VoP-seed0/adapter.safetensors"
    assert vop("info", str(file), "--verify").exit_code == 0
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    for command in ("eval",), ("info", "runs/VoP-seed0", "--verify"):
        refused(vop(*command), 3, "runs/VoP-seed0/adapter.safetensors is damaged: its content", "copied")


def test_a_flipped_bit_of_a_checkpoint_is_seen(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    file = folder / "runs/VoP-seed0/last.ckpt"
    content = bytearray(file.read_bytes())
    content[content.index(b"data/0") + 200] ^= 1
    file.write_bytes(content)
    refused(
        vop("train", *SHORT, "--resume"), 3, "runs/VoP-seed0/last.ckpt is damaged or truncated", "restart"
    )


def test_a_run_that_is_not_finished_is_told_from_no_run(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    for name in ("adapter.safetensors", "summary.json", "last.ckpt"):
        (folder / "runs/VoP-seed0" / name).unlink()
    for command in ("eval", "info"):
        refused(vop(command, "runs/VoP-seed0"), 3, "runs/VoP-seed0 is an unfinished run", "--resume")
    done = vop("train", *SHORT, "--resume")
    assert done.exit_code == 0
    assert "runs/VoP-seed0 has no checkpoint yet: starting at step 0" in done.stderr


def test_a_folder_in_which_a_run_is_going_on_is_refused(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    with open_log(folder / "runs/VoP-seed0"):
        for how in ("--resume", "--overwrite"):
            done = vop("train", *SHORT, how)
            refused(done, 3, "runs/VoP-seed0 is in use by another process", "wait")
    assert (folder / "runs/VoP-seed0/summary.json").exists()


def test_what_eval_cannot_use_is_said_before_it_measures(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    Path("bad.safetensors").write_bytes(b"no adapter")
    with before_layers(lambda *_: pytest.fail("it measures")):
        assert vop("eval", "zero-shot", "bad.safetensors").exit_code == 3
        done = vop("eval", "--html", "captions.jsonl/page.html")
    refused(done, 3, "captions.jsonl/page.html lies below something that is not a folder", "check the path")


def test_quiet_is_quiet(folder: Path) -> None:
    done = vop("eval", "zero-shot", "--pooling", "max", "-q")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_dry_run_says_that_the_folder_is_taken(folder: Path) -> None:
    assert vop("train", *SHORT).exit_code == 0
    done = vop("train", *SHORT, "--dry-run")
    assert done.exit_code == 0
    assert "Warning: runs/VoP-seed0 holds a run already" in done.stderr
    assert re.search(r"estimated memory\t[\d,]+ MB\n", done.stdout)


@pytest.mark.parametrize("option", ["--variant", "--seeds"])
def test_an_empty_list_is_not_the_default(folder: Path, option: str) -> None:
    assert vop("train", option, "").exit_code == 2


@pytest.mark.parametrize("layers", ["1-999999999999", "9" * 5000, "3-1", "1-" + "9" * 5000])
def test_layers_without_end_are_refused(folder: Path, layers: str) -> None:
    done = vop("train", "--variant", "P", "--dry-run", "--layers", layers)
    refused(done, 2, "tuning.layers ", "count from 1")
    assert len(done.stderr) < 400


def test_captions_without_a_split_are_told(folder: Path) -> None:
    text = (folder / "captions.jsonl").read_text().replace('"split"', '"Split"')
    (folder / "captions.jsonl").write_text(text)
    done = vop("train", *SHORT)
    assert "captions.jsonl: 20 of 20 lines have no split: 'train' is used" in done.stderr
