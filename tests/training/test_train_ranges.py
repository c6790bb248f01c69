"""Captions with times: training and evaluation on ranges equal those on clips that are cut without loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vopcli
from tests.support.clip import random_state
from tests.support.training import FRAMES, MODEL, SHAPE, SIDE
from tests.support.videos import make_video, run_ffmpeg
from vopcli.config.load import load_config
from vopcli.datasets.splits import open_captioned_store, split_for_training
from vopcli.errors import DataError, UsageError
from vopcli.frames.store import FrameStore
from vopcli.methods.adapter_file import read_adapter
from vopcli.progress import SilentProgress
from vopcli.weights.reader import Weights, write_safetensors

FPS, NUM_FILMS = 10, 4
RANGES = {"train": [(0.0, 1.5), (0.7, 2.0), (3.0, 4.4)], "val": [(2.2, 3.1)], "test": [(4.5, 9.0)]}
SETTINGS: dict[str, Any] = {
    "backbone.weights": "tiny.safetensors",
    "tuning.variant": "VoP",
    "tuning.prompt_length": 3,
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.precision": "fp32",
}
EXTRACTION = {"data.num_frames": FRAMES, "data.size": SIDE, "data.workers": 0}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, a clip for each of their ranges, and both written as captions."""
    root = tmp_path_factory.mktemp("films")
    (root / "films").mkdir()
    (root / "clips").mkdir()
    ranges, clips = [], []
    for film in range(NUM_FILMS):
        path = make_video(
            root / "films" / f"{film}.mp4", num_frames=60 + film, fps=str(FPS), width=48, height=32
        )
        for split, windows in RANGES.items():
            for number, (start, end) in enumerate(windows):
                name, text = f"{film}-{split}{number}", f"number {film}, a thing {number} of {split}"
                inside = f"select='gte(n,{round(start * FPS)})*lt(n,{round(end * FPS)})'"
                cut = ("-vf", inside, "-fps_mode", "passthrough", "-c:v", "ffv1")
                run_ffmpeg("-i", path, *cut, root / "clips" / f"{name}.mkv")
                ranges.append(
                    {"video": str(film), "caption": text, "split": split, "start": start, "end": end}
                )
                clips.append({"video": name, "caption": text, "split": split})
    for name, lines in (("ranges", ranges), ("clips", clips)):
        (root / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_safetensors(
        Weights(root, "tiny", "random", MODEL, dict(random_state(MODEL))), root / "tiny.safetensors"
    )
    return root


def settings_of(films: Path, name: str, store: Path) -> dict[str, Any]:
    files = {"backbone.weights": films / "tiny.safetensors", "data.captions": films / f"{name}.jsonl"}
    files |= {"data.frames": store, "training.output": store.with_suffix("")}
    return SETTINGS | {key: str(path) for key, path in files.items()}


def extract(films: Path, folder: str, store: Path, captions: str) -> None:
    summary = vopcli.extract_frames(
        films / folder, store, EXTRACTION | {"data.captions": str(films / captions)}
    )
    assert summary.exit_code == 0


def test_ranges_train_and_evaluate_like_clips(films: Path, tmp_path: Path) -> None:
    extract(films, "films", tmp_path / "ranges.h5", "ranges.jsonl")
    extract(films, "clips", tmp_path / "clips.h5", "clips.jsonl")
    runs, results = [], []
    for name in ("ranges", "clips"):
        settings = settings_of(films, name, tmp_path / f"{name}.h5")
        runs.append(vopcli.train(settings))
        results += vopcli.evaluate(runs[-1].plan.folder, settings)
    of_ranges, of_clips = results
    assert of_ranges.metrics.to_dict(with_ranks=True) == of_clips.metrics.to_dict(with_ranks=True)
    assert of_ranges.answers[0].video == "0.mp4@4.5-9"
    assert (of_ranges.data.num_ranges, of_clips.data.num_ranges) == (NUM_FILMS, 0)
    assert runs[0].selected == runs[1].selected
    tuned, expected = (read_adapter(Path(run.plan.folder) / "adapter.safetensors").tensors for run in runs)
    assert tuned.keys() == expected.keys()
    for key, tensor in tuned.items():
        np.testing.assert_array_equal(tensor, expected[key])


def test_the_frames_of_a_range_are_those_of_its_clip(films: Path, tmp_path: Path) -> None:
    extract(films, "films", tmp_path / "ranges.h5", "ranges.jsonl")
    extract(films, "clips", tmp_path / "clips.h5", "clips.jsonl")
    ranges, clips = (FrameStore.open(tmp_path / f"{name}.h5") for name in ("ranges", "clips"))
    found = [ranges.items[f"{film}.mp4@0.7-2"] for film in range(NUM_FILMS)]
    for film, item in enumerate(found):
        clip = clips.items[f"{film}-train1.mkv"]
        np.testing.assert_array_equal(ranges.read(item), clips.read(clip))
        np.testing.assert_allclose(item.seconds - 0.7, clip.seconds)


def test_a_store_without_the_ranges_is_refused_with_the_command(films: Path, tmp_path: Path) -> None:
    store = tmp_path / "out.h5"
    vopcli.extract_frames(films / "films", store, EXTRACTION)
    settings = settings_of(films, "ranges", store)
    with pytest.raises(
        DataError, match=r"^16 of 16 videos and ranges of .* are not in .*: 0@0-1\.5, "
    ) as caught:
        vopcli.train(settings)
    assert f"`vop extract-frames VIDEOS... {store} --captions {films}/ranges.jsonl`" in caught.value.hint
    extract(films, "films", store, "ranges.jsonl")
    assert vopcli.train(settings).plan.num_train_videos == 3 * NUM_FILMS


def test_a_video_is_held_out_with_all_its_ranges(films: Path, tmp_path: Path) -> None:
    extract(films, "films", tmp_path / "out.h5", "ranges.jsonl")
    lines = [json.loads(line) for line in (films / "ranges.jsonl").read_text().splitlines()]
    kept = [json.dumps(line) for line in lines if line["split"] == "train"]
    (tmp_path / "captions.jsonl").write_text("\n".join(kept))
    (tmp_path / "vop.yaml").write_text("data: {frames: out.h5, captions: captions.jsonl}")
    data = open_captioned_store(load_config(tmp_path / "vop.yaml"), SilentProgress(), shape=SHAPE)
    train, val, source = split_for_training(data, val_share=0.25)
    assert source == "1 of the 4 training videos, held out"
    assert len(val.videos) == 3
    assert not {video.path for video in train.videos} & {video.path for video in val.videos}


def test_ranges_of_different_numbers_of_frames(films: Path, tmp_path: Path) -> None:
    store = tmp_path / "out.h5"
    captions = {"data.captions": str(films / "ranges.jsonl"), "data.sampling": "fps:10"}
    vopcli.extract_frames(films / "films", store, EXTRACTION | captions | {"data.num_frames": 12})
    with pytest.raises(UsageError, match=r"have different numbers of frames, 9 to 12"):
        vopcli.train(settings_of(films, "ranges", store))
