"""Time and memory of a training step of each variant, ViT-B/32 shapes, 8 videos of 12 frames, side by side.

Each measurement is a process of its own, so that its peak memory is its own. Weights are random. The peer is
plain VoP built on open_clip's layers, under autocast where that is not float32; before anything is timed, its
embeddings are compared with ours. gpu.py takes the same steps on a GPU.
Run: python benchmarks/train.py [--rounds 2]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import machine, markdown_table, write_results
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support builds the peer

from tests.support.clip import clip_of, openai_shape, random_state
from vopcli.clip.device import DTYPES
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.clip.vision import normalise
from vopcli.config.choices import Precision, Variant
from vopcli.config.schema import TrainingConfig, TuningConfig
from vopcli.frames.rows import Row, Status
from vopcli.frames.store import FrameStore, Recipe
from vopcli.frames.writer import FrameStoreWriter, create_store
from vopcli.methods.build import cast_frozen
from vopcli.methods.model import VideoTextModel
from vopcli.progress import SilentProgress
from vopcli.training.batches import Samples
from vopcli.training.checkpoint import RunState
from vopcli.training.loop import TrainingJob, train
from vopcli.training.losses import contrastive_loss
from vopcli.video.sampling import Sampling

BACKBONE = "ViT-B/32"
PROMPTS = 8
PEER = "VoP on open_clip"
METHODS = [variant.value for variant in Variant if variant is not Variant.ZERO_SHOT]
PRECISIONS = {Precision.FP32: "float32", Precision.BF16: "bfloat16"}


@dataclass(frozen=True)
class Work:
    """Model, data and device of the measured training steps.

    Attributes:
        shape: of the backbone.
        tuning: settings of every variant.
        videos: of a batch.
        frames: of a video.
        stored: videos of the frame store.
        steps: of an epoch; the first of a single one warms up.
        epochs: all but the last warm up.
        device: where the model is.
        dtype: of the matrix products.
    """

    shape: ClipShape = field(default_factory=lambda: openai_shape(BACKBONE))
    tuning: TuningConfig = field(default_factory=TuningConfig)
    videos: int = 8
    frames: int = 12
    stored: int = 8
    steps: int = 2
    epochs: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32


def main() -> None:
    """Compare, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        name, precision = chosen.child
        work = Work(dtype=DTYPES[Precision(precision)])
        print(json.dumps(CHILDREN.get(name, measure)(work, name, chosen.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "out.h5", Work())
        differs = run_child("check", Precision.FP32, store)["largest_difference"]
        assert differs <= 1e-5, f"the peer does not compute the same: {differs}"
        keys = [(precision, name) for precision in PRECISIONS for name in (*METHODS, PEER)]
        measured: dict[tuple[Precision, str], list[dict[str, float]]] = {key: [] for key in keys}
        for _ in range(chosen.rounds):
            for (precision, name), results in measured.items():
                results.append(run_child(name, precision, store))
                print(precision.value, name, results[-1], file=sys.stderr, flush=True)
    medians = {
        key: {figure: statistics.median(result[figure] for result in results) for figure in results[0]}
        for key, results in measured.items()
    }
    write_results("train", report(medians, chosen.rounds))


def run_child(name: str, precision: Precision, store: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    words = [sys.executable, __file__, "--child", name, precision.value, "--store", str(store)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make_store(path: Path, work: Work) -> Path:
    """Write a frame store of noise: what the frames show makes no difference to the time."""
    size = work.shape.image_resolution
    create_store(path, Recipe(Sampling("uniform", work.frames), size))
    rng = np.random.default_rng(0)
    with FrameStoreWriter(path) as writer:
        rows = [Row("/", f"{number}.mp4", 1, 1, status=Status.PENDING) for number in range(work.stored)]
        writer.lay_out(rows, [work.frames] * work.stored)
        for number, row in enumerate(rows):
            frames = rng.integers(0, 256, (work.frames, size, size, 3), np.uint8)
            writer.put_frames(number, row, frames, np.arange(work.frames, dtype=np.float64))
    return path


def captions(count: int) -> np.ndarray:
    """Return tokens (count, 69) int64 of captions of 8 to 15 words, zero after their ends."""
    tokens = np.zeros((count, 69), np.int64)
    rng = np.random.default_rng(1)
    for number, row in enumerate(tokens):
        num_words = 8 + number % 8
        row[: num_words + 2] = [49406, *rng.integers(1, 49000, num_words), 49407]
    return tokens


class Clock(SilentProgress):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def advance(self, amount: int = 1) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def training_job(work: Work, name: str, store_path: Path, folder: Path, **settings: Any) -> TrainingJob:
    """Return a job of vop's own loop."""
    torch.manual_seed(0)
    tuning = replace(work.tuning, variant=Variant(name))
    model = VideoTextModel(Clip(work.shape), tuning, num_frames=work.frames)
    cast_frozen(model, work.dtype)
    store, count = FrameStore.open(store_path), work.steps * work.videos
    videos = list(itertools.islice(itertools.cycle(store.videos), count))
    samples = Samples(store, videos, captions(count))
    config = TrainingConfig(epochs=work.epochs, batch_size=work.videos, lr=1e-4, **settings)

    def validate() -> dict[str, float]:
        return {"t2v R@1": 0.0, **peak(work.device)}

    return TrainingJob(model.to(work.device), samples, config, work.dtype, folder, validate)


def measure(work: Work, name: str, store_path: Path, **settings: Any) -> dict[str, float]:
    """Run the steps of a variant in vop's own loop.

    Each step waits for the device once, where the loss is read, so the time from one end of a step to the
    next is that of a step also on a GPU.
    """
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        state = train(training_job(work, name, store_path, Path(folder), **settings), RunState({}), clock)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "train" and line["epoch"] == work.epochs - 1]
    return {
        "seconds": statistics.median(np.diff(clock.ended[-work.steps :]).tolist()),
        "peak_bytes": state.best["peak_bytes"],
        "waiting": statistics.fmean(line["waiting_share"] for line in last),
        "videos_per_second": statistics.fmean(line["videos_per_second"] for line in last),
    }


def measure_peer(work: Work, _: str, store_path: Path) -> dict[str, float]:
    """Run the same steps with open_clip's layers, on a batch that is in memory."""
    store, peer = FrameStore.open(store_path), OpenClipVop(work.shape).to(work.device)
    optimizer = torch.optim.AdamW([peer.video_prompts, peer.text_prompts], lr=1e-4, weight_decay=0.2)
    size = work.shape.image_resolution
    frames = np.empty((work.videos, work.frames, size, size, 3), np.uint8)
    store.read_batch(store.videos[: work.videos], frames)
    batch = torch.from_numpy(frames)
    batch = batch.pin_memory() if work.device.type == "cuda" else batch
    tokens = torch.from_numpy(captions(work.videos)).to(work.device)
    ended = []
    for _step in range(work.steps * work.epochs + 1):
        ended.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        on_device = batch.to(work.device, non_blocking=True)
        pixels = normalise(on_device, work.shape.preprocessing)
        with torch.autocast(work.device.type, dtype=torch.bfloat16, enabled=work.dtype == torch.bfloat16):
            text, video = peer.encode_text(tokens), peer.encode_video(pixels)
        loss = contrastive_loss(text.float(), video.float(), peer.clip.logit_scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([peer.video_prompts, peer.text_prompts], 1.0)
        loss.item()  # as vop's loop does
        optimizer.step()
    seconds = statistics.median(np.diff(ended[-work.steps :]).tolist())
    return {"seconds": seconds, "waiting": 0.0, **peak(work.device)}


@torch.no_grad()
def check(work: Work, _: str, store_path: Path) -> dict[str, float]:
    """Return by how much the peer's embeddings differ from ours."""
    store, shape, peer = FrameStore.open(store_path), work.shape, OpenClipVop(work.shape).to(work.device)
    tuning = replace(work.tuning, variant=Variant.VOP)
    ours = VideoTextModel(clip_of(shape, random_state(shape)), tuning, num_frames=work.frames).eval()
    ours.get_parameter("vision_prompts.sources.0.table").copy_(peer.video_prompts)
    ours.get_parameter("text_prompts.table").copy_(peer.text_prompts)
    ours.to(work.device)
    frames = torch.from_numpy(store.read(store.videos[0])[None])
    pixels = normalise(frames, shape.preprocessing, device=work.device)
    tokens = torch.from_numpy(captions(8)).to(work.device)
    off = [
        ours.encode_video(pixels) - peer.encode_video(pixels),
        ours.encode_text(tokens) - peer.encode_text(tokens),
    ]
    return {"largest_difference": max(float(one.abs().max()) for one in off)}


CHILDREN = {"check": check, PEER: measure_peer}


class OpenClipVop(nn.Module):
    """Plain VoP as one would write it around open_clip's model."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        from tests.support.peers import open_clip_model  # not for the others: importing it takes memory

        self.clip = open_clip_model(shape, random_state(shape))
        generator = torch.Generator().manual_seed(1)
        video, text = (
            torch.randn(layers, PROMPTS, width, generator=generator) * 0.02
            for layers, width in (
                (shape.vision_layers, shape.vision_width),
                (shape.text_layers, shape.text_width),
            )
        )
        self.video_prompts, self.text_prompts = nn.Parameter(video), nn.Parameter(text)

    def encode_video(self, pixels: Tensor) -> Tensor:
        """Map (B, F, 3, H, W) to (B, E)."""
        visual = self.clip.visual
        patches = visual.conv1(pixels.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B * F, L-1, D)
        cls_token = visual.class_embedding.expand(len(patches), 1, -1)
        tokens = torch.cat([cls_token, patches], dim=1) + visual.positional_embedding
        for layer, block in enumerate(visual.transformer.resblocks):
            tokens = self._inserted(tokens, self.video_prompts[layer], is_first=layer == 0)
            tokens = block(visual.ln_pre(tokens) if layer == 0 else tokens)
        frames = functional.normalize(visual.ln_post(tokens[:, 0]) @ visual.proj, dim=-1)
        return functional.normalize(frames.view(*pixels.shape[:2], -1).mean(dim=1), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Map (N, 69) to (N, E); as open_clip does, over all 77 places."""
        clip, end = self.clip, ids.argmax(dim=-1) + PROMPTS
        tokens = clip.token_embedding(ids)
        for layer, block in enumerate(clip.transformer.resblocks):
            tokens = self._inserted(tokens, self.text_prompts[layer], is_first=layer == 0)
            tokens = tokens + clip.positional_embedding if layer == 0 else tokens
            tokens = block(tokens, attn_mask=clip.attn_mask)
        read = clip.ln_final(tokens[torch.arange(len(ids)), end]) @ clip.text_projection
        return functional.normalize(read, dim=-1)

    @staticmethod
    def _inserted(tokens: Tensor, prompts: Tensor, *, is_first: bool) -> Tensor:
        rest = tokens[:, 1:] if is_first else tokens[:, 1 + PROMPTS :]
        return torch.cat([tokens[:, :1], prompts.expand(len(tokens), -1, -1), rest], dim=1)


def peak(device: torch.device) -> dict[str, float]:
    """Return the most memory that was held: by this process, or on a GPU by tensors since the last reset."""
    if device.type == "cuda":
        return {"peak_bytes": float(torch.cuda.max_memory_allocated())}
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return {"peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kibibytes)}


def report(medians: dict[tuple[Precision, str], dict[str, float]], rounds: int) -> str:
    """Write a table for each precision, with ratios to ``full``."""
    text = (
        "# A training step with ViT-B/32\n\n8 videos of 12 frames and 8 captions, random weights; "
        f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads; medians of {rounds} "
        "rounds, each measurement in a process of its own. In bfloat16 frozen tensors are held in it, and "
        "trained ones in float32; open_clip's stay float32 under autocast.\n"
    )
    for precision, title in PRECISIONS.items():
        own = {name: result for (other, name), result in medians.items() if other is precision}
        full, plain = own[Variant.FULL.value], own[Variant.VOP.value]["seconds"]
        rows = [
            [
                name,
                f"{result['seconds']:.2f}",
                f"{full['seconds'] / result['seconds']:.2f}x",
                f"{result['peak_bytes'] / 1e9:.2f}",
                f"{result['peak_bytes'] / full['peak_bytes']:.2f}",
            ]
            for name, result in own.items()
        ]
        columns = [title, "s a step", "speed of full", "peak GB", "memory of full"]
        joint, peer = own[Variant.F.value]["seconds"], own[PEER]["seconds"]
        waiting = max(result["waiting"] for result in own.values())
        text += (
            f"\n{markdown_table(columns, rows)}\nF takes {joint / plain:.2f} times as long as plain VoP, and "
            f"plain VoP {plain / peer:.2f} times as long as the same on open_clip's layers. The loop waited "
            f"for data at most {100 * waiting:.2f} % of the time.\n"
        )
    return text


if __name__ == "__main__":
    main()
