"""Speed and memory on a GPU: encoding against open_clip, training steps, and waiting for the frame store.

Weights and frames are random. Everything runs in one process, and each figure is a median. Nothing is begun
after the minutes, and what is left out is named. float32 is computed without TF32.
Run: python benchmarks/gpu.py [--device cuda:0] [--minutes 6.5]
With --tiny --device cpu the flow runs with a tiny model, without its results being kept.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from encode import make_captions
from side_by_side import machine, markdown_table, medians_of_rounds, write_results
from torch.nn import functional
from train import METHODS, PEER, Work, check, make_store, measure, measure_peer

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support builds the peer

from tests.support.clip import clip_of, openai_shape, random_pixels, random_state, tiny_clip
from tests.support.peers import open_clip_model
from vopcli.clip.shape import ClipShape
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.choices import Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods.registry import METHODS as RECORDS

BACKBONES = ("ViT-B/32", "ViT-B/16", "ViT-L/14")
MODES = ("fp32", "bf16", "bf16 compiled")
EPOCH = 180_000  # captions of an epoch of MSR-VTT-9k
PROMPTED = [name for name in METHODS if "prompt_length" in RECORDS[Variant(name)].settings]
OURS, THEIRS = "vop", "open_clip"
FULL, VOP = Variant.FULL.value, Variant.VOP.value
NOT_MEASURED = "not measured"

Encoder = Callable[[torch.Tensor], torch.Tensor]
Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """Sizes and limits of the benchmark.

    Attributes:
        shapes: of the backbones whose encoding is timed, by name.
        items: images and texts of a batch.
        rounds: repetitions; the median is reported.
        methods: the variants whose steps are timed, first those that others are compared with.
        work: the training steps.
        deadline: of `time.monotonic`; nothing is begun after it.
    """

    shapes: Mapping[str, ClipShape]
    items: int
    rounds: int
    methods: Sequence[str]
    work: Work
    deadline: float

    @property
    def is_over(self) -> bool:
        """Whether the time has run out."""
        return time.monotonic() > self.deadline


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--minutes", type=float, default=6.5)
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args()
    if chosen.device.type == "cuda":
        if not torch.cuda.is_available():
            parser.error("there is no GPU with CUDA here; --tiny --device cpu shows the flow")
        torch.cuda.set_device(chosen.device.index or 0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    deadline = time.monotonic() + 60 * chosen.minutes
    if chosen.tiny:
        torch.compiler.set_stance("default", force_backend="eager")  # the translation to C++ takes minutes
        print(run(tiny_plan(chosen.device, deadline)))
        return
    work = Work(videos=32, stored=256, steps=20, epochs=2, device=chosen.device, dtype=torch.bfloat16)
    shapes = {name: openai_shape(name) for name in BACKBONES}
    methods = [FULL, VOP, *(name for name in METHODS if name not in {FULL, VOP})]
    write_results("gpu", run(Plan(shapes, 256, 7, methods, work, deadline)))


def tiny_plan(device: torch.device, deadline: float) -> Plan:
    """Return a plan of seconds on a CPU."""
    tuning = TuningConfig(specific_length=2, split_layer=1, adapter_width=4)
    work = Work(tiny_clip(), tuning, videos=2, frames=2, stored=3, epochs=2, device=device)
    work = replace(work, dtype=torch.bfloat16)
    return Plan({"tiny": tiny_clip()}, 3, 1, [FULL, VOP, Variant.C_F.value], work, deadline)


def run(plan: Plan) -> str:
    """Measure all of it, the slowest to begin and the least needed last, and return the report."""
    work = plan.work
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "out.h5", work)
        differs = check(replace(work, dtype=torch.float32), "", store)["largest_difference"]
        assert differs < 1e-4, f"the peer does not compute the same: {differs}"
        steps = {name: measure_one(plan, work, name, store) for name in (*plan.methods, PEER)}
        from_store = measure_one(plan, replace(work, steps=10 * work.steps), VOP, store)
        encoded = {name: measure_encoding(plan, name, shape) for name, shape in plan.shapes.items()}
        for name in (VOP, FULL):
            steps[f"{name}, --compile"] = measure_one(plan, work, name, store, compile=True)
    return report(plan, encoded, steps, from_store)


def free_memory(device: torch.device) -> None:
    """Discard compiled code and cached memory, and reset the peak memory of the device."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure_one(plan: Plan, work: Work, name: str, store: Path, **settings: object) -> Figures | None:
    """Measure the steps of a variant or the peer; None if the time has run out or the memory is too small."""
    free_memory(work.device)
    if plan.is_over:
        return None
    try:
        figures = measure_peer(work, name, store) if name == PEER else measure(work, name, store, **settings)
    except torch.OutOfMemoryError as error:
        print(name, error, file=sys.stderr)
        return None
    print(name, settings, figures, file=sys.stderr, flush=True)
    return figures


@torch.inference_mode()
def measure_encoding(plan: Plan, name: str, shape: ClipShape) -> dict[str, dict[str, Figures]]:
    """Return for images and texts the rate, the memory and the lowest cosine of each encoder."""
    device, state = plan.work.device, random_state(shape)
    pixels = random_pixels(shape, plan.items).to(device)
    captions = (make_captions() * (1 + plan.items // 64))[: plan.items]
    cut = torch.from_numpy(Tokenizer().tokenize(captions)[0]).to(device)
    padded = functional.pad(cut, (0, shape.context_length - cut.shape[1]))
    found: dict[str, dict[str, Figures]] = {"images": {}, "texts": {}}
    for mode in MODES:
        free_memory(device)
        if plan.is_over:
            break
        dtype = torch.float32 if mode == "fp32" else torch.bfloat16
        ours = clip_of(shape, state, dtype=dtype).to(device)
        peer = open_clip_model(shape, state).to(device, dtype)
        wrap = torch.compile if mode.endswith("compiled") else lambda encode: encode
        batch = pixels.to(dtype)
        pairs: dict[str, dict[str, tuple[Encoder, torch.Tensor]]] = {
            "images": {THEIRS: (wrap(peer.encode_image), batch), OURS: (wrap(ours.encode_image), batch)},
            "texts": {THEIRS: (wrap(peer.encode_text), padded), OURS: (wrap(ours.encode_text), cut)},
        }
        for side, encoders in pairs.items():
            figures = time_encoders(plan, encoders)
            found[side] |= {f"{who} {mode}": figures[who] for who in figures}
            print(name, mode, side, figures, file=sys.stderr, flush=True)
    return found


def time_encoders(plan: Plan, encoders: Mapping[str, tuple[Encoder, torch.Tensor]]) -> dict[str, Figures]:
    """Time two encoders of the same items in turn, after each ran once, which compiles it."""
    device = plan.work.device
    embedded = {who: encode(batch).float() for who, (encode, batch) in encoders.items()}
    cosine = float(functional.cosine_similarity(embedded[OURS], embedded[THEIRS]).min())
    assert cosine > 0.999, f"vop does not agree with open_clip: cosine {cosine:.6f}"

    def timed(encode: Encoder, batch: torch.Tensor) -> Callable[[], None]:
        def call() -> None:
            encode(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return call

    calls = {who: timed(*given) for who, given in encoders.items()}
    seconds = medians_of_rounds(calls, rounds=plan.rounds)
    return {
        who: {"rate": plan.items / seconds[who], "cosine": cosine, **extra_bytes(device, call)}
        for who, call in calls.items()
    }


def extra_bytes(device: torch.device, call: Callable[[], None]) -> Figures:
    """Return the peak GPU memory of a call in bytes, less the memory allocated before; empty on a CPU."""
    if device.type != "cuda":
        return {}
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    call()
    return {"bytes": float(torch.cuda.max_memory_allocated(device) - held)}


def report(
    plan: Plan,
    encoded: Mapping[str, dict[str, dict[str, Figures]]],
    steps: Mapping[str, Figures | None],
    from_store: Figures | None,
) -> str:
    """Write the goals, then a table for each part."""
    work = plan.work
    missing = [name for name, figures in steps.items() if not figures]
    hardware = f"{card(work.device)}; {machine()}; torch {torch.__version__}, CUDA {torch.version.cuda}"
    step_method = (
        f"A training step, {work.videos} videos of {work.frames} frames and as many captions, bfloat16. "
        "open_clip's weights stay float32 under autocast, and its batch is in memory already. "
        "Peaks are those of tensors."
    )
    encoding_method = (
        f"Encoding batches of {plan.items}. Captions have 4 to 12 words: open_clip pads them to 77 tokens, "
        "vop cuts the batch after its longest. Memory is beyond the weights and the batch."
    )
    parts = [
        f"# On a GPU\n\n{hardware}. Random weights, medians, one process; float32 without TF32.",
        goals(encoded, steps, from_store),
        step_method,
        markdown_table(["", "ms a step", "of full", "of open_clip", "peak GB"], step_rows(steps)),
        *([f"Not measured, for lack of time or memory: {', '.join(missing)}."] if missing else []),
        store_text(work, from_store),
        encoding_method,
        *(encoding_table(name, sides) for name, sides in encoded.items()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def card(device: torch.device) -> str:
    """Name the device."""
    if device.type != "cuda":
        return f"no GPU but {device.type}"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def goals(
    encoded: Mapping[str, dict[str, dict[str, Figures]]],
    steps: Mapping[str, Figures | None],
    from_store: Figures | None,
) -> str:
    """Return a table with each goal and the worst measurement of it."""
    rows = []
    for side, least in (("images", 1.0), ("texts", 3.0)):
        found = [of_peer(sides[side], MODES[-1]) for sides in encoded.values()]
        worst = min((ratio for ratio in found if ratio is not None), default=None)
        goal = f"{side} compiled, a second, times those of open_clip compiled"
        rows.append(goal_row(goal, f"at least {least}", worst, worst is not None and worst >= least))
    full = steps[FULL]
    prompted = [figures["seconds"] for name in PROMPTED if (figures := steps.get(name))]
    share = max(prompted) / full["seconds"] if full and prompted else None
    rows.append(goal_row("step of any prompts, of full's", "at most 0.6", share, (share or 1) <= 0.6))
    waiting = from_store and 100 * from_store["waiting"]
    rows.append(goal_row("waiting for data, %", "under 2", waiting, waiting is not None and waiting < 2))
    return markdown_table(["goal", "", "measured", "reached"], rows)


def goal_row(goal: str, bound: str, value: float | None, is_reached: bool) -> list[str]:  # noqa: FBT001
    """Return a row of the table of goals."""
    if value is None:
        return [goal, bound, NOT_MEASURED, ""]
    return [goal, bound, f"{value:.2f}", "yes" if is_reached else "no"]


def step_rows(steps: Mapping[str, Figures | None]) -> list[list[str]]:
    """Return a row for each variant that was measured."""

    def times(seconds: float, other: Figures | None) -> str:
        return f"{seconds / other['seconds']:.2f}" if other else NOT_MEASURED

    full, peer = steps[FULL], steps[PEER]
    return [
        [
            name,
            f"{1000 * figures['seconds']:.1f}",
            times(figures["seconds"], full),
            times(figures["seconds"], peer),
            f"{figures['peak_bytes'] / 1e9:.2f}",
        ]
        for name, figures in steps.items()
        if figures
    ]


def store_text(work: Work, figures: Figures | None) -> str:
    """Say how fast an epoch of the largest benchmark would be, and how long the loop waited."""
    if not figures:
        return f"From the frame store: {NOT_MEASURED}."
    rate = figures["videos_per_second"]
    return (
        f"From a frame store of {work.stored} videos in the page cache: VoP trains {rate:.0f} captions a "
        f"second, {rate * 3600 / EPOCH:.2f} epochs of MSR-VTT-9k ({EPOCH:,} captions) an hour, and waits for "
        f"data {100 * figures['waiting']:.2f} % of the time."
    )


def of_peer(found: Mapping[str, Figures], mode: str) -> float | None:
    """Return how many times open_clip's rate ours is."""
    ours, theirs = found.get(f"{OURS} {mode}"), found.get(f"{THEIRS} {mode}")
    return ours["rate"] / theirs["rate"] if ours and theirs else None


def encoding_table(name: str, sides: dict[str, dict[str, Figures]]) -> str:
    """Write the rates of one backbone."""
    rows = []
    for mode in MODES:
        for side, found in sides.items():
            both = [found.get(f"{who} {mode}") for who in (THEIRS, OURS)]
            rates = [f"{one['rate']:.0f}" if one else NOT_MEASURED for one in both]
            memory = [f"{one['bytes'] / 1e6:.0f}" if one and "bytes" in one else "" for one in both]
            ratio, cosine = of_peer(found, mode), both[1] and f"{both[1]['cosine']:.6f}"
            rows.append([f"{side}, {mode}", *rates, f"{ratio:.2f}" if ratio else "", *memory, cosine or ""])
    columns = [name, "open_clip /s", "vop /s", "ratio", "open_clip MB", "vop MB", "lowest cosine"]
    return markdown_table(columns, rows)


if __name__ == "__main__":
    main()
