"""A tiny training set on disk, and a tiny model to be trained on it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.support.clip import random_state
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape, Preprocessing
from vopcli.clip.transformer import Block
from vopcli.config.choices import Activation, Variant
from vopcli.config.load import load_config
from vopcli.config.schema import Config, DataConfig, TrainingConfig, TuningConfig
from vopcli.datasets.demo.drawing import draw_video, write_video
from vopcli.datasets.demo.scenes import plan_demo
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.store import FrameStore
from vopcli.methods.model import VideoTextModel
from vopcli.progress import SilentProgress
from vopcli.training.batches import Samples
from vopcli.training.loop import TrainingJob
from vopcli.weights.reader import Weights, write_safetensors

FRAMES, SIDE, VIDEOS = 3, 16, 10
SHAPE = ClipShape(
    embed_dim=12,
    image_resolution=SIDE,
    patch_size=8,
    vision_layers=3,
    vision_width=24,
    vision_heads=3,
    context_length=20,
    vocab_size=50,
    text_layers=2,
    text_width=16,
    text_heads=2,
    activation=Activation.QUICK_GELU,
)

# the same with words for the tokenizer, and pixels of its own
PIXELS = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7))
MODEL = dataclasses.replace(SHAPE, vocab_size=49408, context_length=77, preprocessing=PIXELS)
SETTINGS = """
backbone: {weights: tiny.safetensors}
data: {frames: out.h5, captions: captions.jsonl}
tuning: {prompt_length: 3, specific_length: 1, split_layer: 1, adapter_width: 4}
training: {epochs: 2, batch_size: 4, precision: fp32, val_share: 0.3}
"""


def make_captioned_folder(folder: Path, store: Path) -> Path:
    """Put into ``folder`` all that training takes: settings, captions, a link to ``store``, and a model."""
    weights = Weights(folder, "tiny", "random", MODEL, dict(random_state(MODEL)))
    write_safetensors(weights, folder / "tiny.safetensors")
    (folder / "out.h5").symlink_to(store)
    (folder / "vop.yaml").write_text(SETTINGS)
    lines = []
    for number, video in enumerate(FrameStore.open(store).videos):
        split = "test" if number >= 7 else "train"
        words = f"number {number}, a {'red' if number % 2 else 'blue'} thing"
        lines += [
            {"video": video.path, "caption": text, "split": split} for text in (words, f"{words} that moves")
        ]
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return folder


def make_store(folder: Path, *, candidates: int = 1) -> Path:
    """Draw a few films and extract their frames."""
    films = itertools.chain.from_iterable(plan_demo(seed=0))
    for film in itertools.islice(films, VIDEOS):
        target = folder / "videos" / film.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_video(target, draw_video(film))
    store = folder / "out.h5"
    data = DataConfig(num_frames=FRAMES, candidates=candidates, size=SIDE, workers=0)
    request = ExtractRequest([folder / "videos"], store, data)
    extract(request, SilentProgress())
    return store


def samples_of(store: Path) -> Samples:
    """Two captions a video, of made-up tokens of several lengths."""
    opened = FrameStore.open(store)
    rng = np.random.default_rng(0)
    videos = [video for video in opened.videos for _ in range(2)]
    tokens = np.zeros((len(videos), 9), np.int64)
    for i, row in enumerate(tokens):
        words = rng.integers(1, 48, 1 + i % 6)
        row[: len(words) + 2] = [48, *words, 49]
    return Samples(opened, videos, tokens)


def model_of(variant: Variant, *, seed: int = 0) -> VideoTextModel:
    """A model whose backbone is always the same; the seed draws what the variant adds."""
    torch.manual_seed(1)
    clip = Clip(SHAPE)
    torch.manual_seed(seed)
    tuning = TuningConfig(variant=variant, prompt_length=3, specific_length=2, split_layer=1, adapter_width=4)
    return VideoTextModel(clip, tuning, num_frames=FRAMES)


def job_of(
    store: Path,
    folder: Path,
    variant: Variant = Variant.P_F,
    dtype: torch.dtype = torch.float32,
    **changes: object,
) -> TrainingJob:
    """A short training job with a validation that costs nothing."""
    settings = {"epochs": 3, "batch_size": 6, "lr": 3e-3, **changes}
    model = model_of(variant)
    config = TrainingConfig(**settings)  # type: ignore[arg-type]
    samples = samples_of(store)
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(model, samples, config, dtype, folder, lambda: {"t2v R@1": 50.0})


def run_settings(variant: Variant = Variant.VOP, **training: Any) -> Config:
    """The settings of the current folder, changed."""
    config = load_config()
    return dataclasses.replace(
        config,
        tuning=dataclasses.replace(config.tuning, variant=variant),
        training=dataclasses.replace(config.training, **training),
    )


@contextmanager
def before_layers(function: Callable[[Block, Any], None]) -> Iterator[None]:
    """Call a function before each pass through a layer of a tower, with the layer and its arguments."""
    hook = register_module_forward_pre_hook(
        lambda module, given: function(module, given) if isinstance(module, Block) else None
    )
    try:
        yield
    finally:
        hook.remove()
