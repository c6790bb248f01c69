"""Images and captions a second through CLIP ViT-B/32: open_clip, transformers and vop, side by side.

Weights are random (rounded through fp16): speed does not depend on them, and all models get the same. Before
anything is timed, the embeddings are compared. Run: python benchmarks/encode.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from side_by_side import machine, markdown_table, medians_of_rounds, write_results
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support builds the peers

from tests.support.clip import clip_of, openai_shape, random_pixels, random_state
from tests.support.peers import (
    open_clip_model,
    transformers_images,
    transformers_model,
    transformers_texts,
)
from vopcli.clip.tokenizer import Tokenizer

IMAGE_BATCHES = (12, 96)
TEXT_BATCH = 64
SEED = 0
WORDS = """
a man woman dog cat child band car is are playing running talking about cooking with in on the of and football
guitar food street water music video game someone explains how to make red small people stage
""".split()  # noqa: SIM905 - far shorter than a list

Encoder = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Compare, time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    shape = openai_shape("ViT-B/32")
    pixels = random_pixels(shape, max(IMAGE_BATCHES))
    captions = make_captions()
    cut = torch.from_numpy(Tokenizer().tokenize(captions)[0])
    padded = functional.pad(cut, (0, shape.context_length - cut.shape[1]))
    with torch.inference_mode():
        image_encoders, text_encoders = build_encoders(padded)
        check(image_encoders, pixels[:12])
        check(text_encoders, cut)
        columns = {
            f"images/s, batch {size}": rates(image_encoders, pixels[:size], rounds) for size in IMAGE_BATCHES
        }
        columns[f"captions/s, batch {TEXT_BATCH}"] = rates(text_encoders, cut, rounds)
    write_results("encode", report(columns, cut.shape[1], rounds))


def make_captions() -> list[str]:
    """Captions of 4 to 12 words; those of MSR-VTT have nine on average."""
    rng = random.Random(SEED)  # noqa: S311 - data
    return [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(TEXT_BATCH)]


def build_encoders(padded: torch.Tensor) -> tuple[dict[str, Encoder], dict[str, Encoder]]:
    """Return what maps pixels, and what maps token ids, to embeddings; peers pad texts to 77 as they do."""
    shape = openai_shape("ViT-B/32")
    state = random_state(shape)
    peer = open_clip_model(shape, state)
    wide, half = transformers_model(shape, state), transformers_model(shape, state, dtype=torch.bfloat16)
    ours, ours_half = clip_of(shape, state), clip_of(shape, state, dtype=torch.bfloat16)
    images: dict[str, Encoder] = {
        "open_clip fp32": peer.encode_image,
        "transformers fp32": lambda pixels: transformers_images(wide, pixels),
        "transformers bf16": lambda pixels: transformers_images(half, pixels.bfloat16()),
        "vop fp32": ours.encode_image,
        "vop bf16": ours_half.encode_image,
    }
    texts: dict[str, Encoder] = {
        "open_clip fp32": lambda _: peer.encode_text(padded),
        "transformers fp32": lambda _: transformers_texts(wide, padded),
        "transformers bf16": lambda _: transformers_texts(half, padded),
        "vop fp32": ours.encode_text,
        "vop bf16": ours_half.encode_text,
    }
    return images, texts


def check(encoders: dict[str, Encoder], batch: torch.Tensor) -> None:
    """Stop if the embeddings do not agree: 1e-5 in float32, a cosine of 0.9999 in bfloat16."""
    expected = encoders["open_clip fp32"](batch)
    for name, encode in encoders.items():
        found = encode(batch).float()
        cosine = float(functional.cosine_similarity(found, expected).min())
        if name.endswith("bf16"):
            agrees = cosine >= 0.9999
        else:
            agrees = torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
        if not agrees and name.startswith("vop"):
            raise SystemExit(f"{name} does not agree with open_clip: cosine {cosine:.6f}")
        print(f"{name}: lowest cosine with open_clip fp32 {cosine:.6f}", file=sys.stderr)


def rates(encoders: dict[str, Encoder], batch: torch.Tensor, rounds: int) -> dict[str, float]:
    """Return items a second for each encoder."""
    seconds = medians_of_rounds(
        {name: lambda encode=encode: encode(batch) for name, encode in encoders.items()}, rounds=rounds
    )
    return {name: len(batch) / seconds[name] for name in encoders}


def report(columns: dict[str, dict[str, float]], length: int, rounds: int) -> str:
    """Write the rates, and how many times a peer's rate ours is."""
    names = list(next(iter(columns.values())))
    rows = [[name, *(f"{column[name]:.1f}" for column in columns.values())] for name in names]
    ours = [name for name in names if name.startswith("vop")]
    ratios = [
        [f"{own} / {peer}", *(f"{column[own] / column[peer]:.2f}x" for column in columns.values())]
        for own in ours
        for peer in names
        if peer not in ours
    ]
    return (
        f"# Encoding with ViT-B/32\n\n{machine()}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; "
        f"medians of {rounds} interleaved rounds. Captions have 4 to 12 words; the peers pad them to 77 "
        f"tokens, vop cuts the batch after its longest ({length} tokens), with the same embeddings.\n\n"
        f"{markdown_table(['', *columns], rows)}\n{markdown_table(['ratio', *columns], ratios)}"
    )


if __name__ == "__main__":
    main()
