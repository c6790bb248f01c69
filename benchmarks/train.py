"""Time and memory of a training step of each variant, ViT-B/32 shapes, 8 videos of 12 frames, side by side.

Each measurement is a process of its own, so that its peak memory is its own. Weights are random. The peer is
plain VoP built on open_clip's layers, under autocast where that is not float32; before anything is timed, its
embeddings are compared with ours.
Run: python benchmarks/train.py [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from side_by_side import machine, markdown_table, write_results
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support builds the peer

from tests.support.clip import clip_of, openai_shape, random_state
from vopcli.clip.device import DTYPES
from vopcli.clip.model import Clip
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
VIDEOS, FRAMES, SIZE, MAX_TOKENS = 8, 12, 224, 69
STEPS = 2  # the first warms up
PROMPTS = 8
PEER = "VoP on open_clip"
METHODS = [variant.value for variant in Variant if variant is not Variant.ZERO_SHOT]
PRECISIONS = {Precision.FP32: "float32", Precision.BF16: "bfloat16"}


def main() -> None:
    """Compare, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        name, precision = chosen.child
        print(json.dumps(CHILDREN.get(name, measure)(name, chosen.store, DTYPES[Precision(precision)])))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "out.h5")
        run_child("check", Precision.FP32, store)
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


def make_store(path: Path) -> Path:
    """Write a frame store of noise: what the frames show makes no difference to the time."""
    create_store(path, Recipe(Sampling("uniform", FRAMES), SIZE))
    rng = np.random.default_rng(0)
    with FrameStoreWriter(path) as writer:
        rows = [Row("/", f"{number}.mp4", 1, 1, status=Status.PENDING) for number in range(VIDEOS)]
        writer.lay_out(rows, [FRAMES] * VIDEOS)
        for number, row in enumerate(rows):
            frames = rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
            writer.put_frames(number, row, frames, np.arange(FRAMES, dtype=np.float64))
    return path


def captions() -> np.ndarray:
    """Return tokens (VIDEOS, MAX_TOKENS) int64 of captions of 8 to 15 words, zero after their ends."""
    tokens = np.zeros((VIDEOS, MAX_TOKENS), np.int64)
    rng = np.random.default_rng(1)
    for number, row in enumerate(tokens):
        row[: number + 10] = [49406, *rng.integers(1, 49000, number + 8), 49407]
    return tokens


class Clock(SilentProgress):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def advance(self, amount: int = 1) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def measure(name: str, store_path: Path, dtype: torch.dtype) -> dict[str, float]:
    """Run the steps of a variant in vop's own loop."""
    store = FrameStore.open(store_path)
    torch.manual_seed(0)
    model = VideoTextModel(
        Clip(openai_shape(BACKBONE)), TuningConfig(variant=Variant(name)), num_frames=FRAMES
    )
    cast_frozen(model, dtype)
    samples = Samples(store, store.videos * STEPS, np.tile(captions(), (STEPS, 1)))
    config = TrainingConfig(epochs=1, batch_size=VIDEOS, lr=1e-4)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(model, samples, config, dtype, Path(folder), lambda: {"t2v R@1": 0.0, **peak()})
        state = train(job, RunState({}), clock)
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    waited = [line["waiting_share"] for line in map(json.loads, lines) if line["kind"] == "train"]
    seconds = clock.ended[-1] - clock.ended[-2]
    return {"seconds": seconds, "peak_bytes": state.best["peak_bytes"], "waiting": waited[-1]}


def measure_peer(_: str, store_path: Path, dtype: torch.dtype) -> dict[str, float]:
    """Run the same steps with open_clip's layers."""
    store, peer = FrameStore.open(store_path), OpenClipVop()
    optimizer = torch.optim.AdamW([peer.video_prompts, peer.text_prompts], lr=1e-4, weight_decay=0.2)
    frames = np.empty((VIDEOS, FRAMES, SIZE, SIZE, 3), np.uint8)
    tokens = torch.from_numpy(captions())
    for _ in range(STEPS):
        began = time.perf_counter()
        store.read_batch(store.videos, frames)
        optimizer.zero_grad(set_to_none=True)
        pixels = normalise(torch.from_numpy(frames))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            text, video = peer.encode_text(tokens), peer.encode_video(pixels)
        loss = contrastive_loss(text.float(), video.float(), peer.clip.logit_scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([peer.video_prompts, peer.text_prompts], 1.0)
        optimizer.step()
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "waiting": 0.0, **peak()}


def check(_: str, store_path: Path, __: torch.dtype) -> dict[str, float]:
    """Stop if the peer does not compute what we do."""
    store, shape, peer = FrameStore.open(store_path), openai_shape(BACKBONE), OpenClipVop()
    clip = clip_of(shape, random_state(shape))
    ours = VideoTextModel(clip, TuningConfig(variant=Variant.VOP), num_frames=FRAMES).eval()
    ours.get_parameter("vision_prompts.sources.0.table").copy_(peer.video_prompts)
    ours.get_parameter("text_prompts.table").copy_(peer.text_prompts)
    pixels = normalise(torch.from_numpy(store.read(store.videos[0])[None]))
    tokens = torch.from_numpy(captions())
    found = {"video": ours.encode_video(pixels), "text": ours.encode_text(tokens)}
    expected = {"video": peer.encode_video(pixels), "text": peer.encode_text(tokens)}
    for side, embedded in found.items():
        torch.testing.assert_close(embedded, expected[side], rtol=0, atol=1e-5)
    return {}


CHILDREN = {"check": torch.no_grad()(check), PEER: measure_peer}


class OpenClipVop(nn.Module):
    """Plain VoP as one would write it around open_clip's model."""

    def __init__(self) -> None:
        super().__init__()
        from tests.support.peers import open_clip_model  # not for the others: importing it takes memory

        shape = openai_shape(BACKBONE)
        self.clip = open_clip_model(shape, random_state(shape))
        generator = torch.Generator().manual_seed(1)
        video, text = (
            torch.randn(12, PROMPTS, width, generator=generator) * 0.02
            for width in (shape.vision_width, shape.text_width)
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


def peak() -> dict[str, float]:
    """Return the most memory that this process has held."""
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
