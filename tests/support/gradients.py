"""Started by torchrun with a frame store: gradients of several processes against those of one alone."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.support.training import model_of, samples_of
from vopcli.clip.shape import OPENAI_PREPROCESSING
from vopcli.clip.vision import normalise
from vopcli.config.choices import Variant
from vopcli.training.batches import Samples, epoch_order, read_batches
from vopcli.training.losses import backward_in_parts
from vopcli.training.processes import ALONE, Processes, joined


def gradients(
    variant: Variant, samples: Samples, count: int, processes: Processes
) -> dict[str, torch.Tensor | None]:
    """The gradients of the trained parameters for the first batch, of ``count`` videos."""
    model = model_of(variant).double()
    order = epoch_order(len(samples), seed=0, epoch=0)[:count]
    [batch] = read_batches(samples, order, batch_size=count, pin=False, processes=processes)
    pixels = normalise(batch.frames, OPENAI_PREPROCESSING, dtype=torch.float64)
    backward_in_parts(
        [lambda: (model.encode_text(batch.tokens), model.encode_video(pixels))],
        model.clip.logit_scale,
        processes=processes,
        count=batch.count,
    )
    trained = {name: item for name, item in model.named_parameters() if item.requires_grad}
    processes.sum_gradients(list(trained.values()))
    return {name: item.grad for name, item in trained.items()}


def main(store: Path) -> None:
    """Print the largest difference of each variant and batch."""
    samples = samples_of(store)
    with joined() as processes:
        for variant in Variant:
            if variant is Variant.ZERO_SHOT:
                continue
            for count in (7, 4):  # of three processes 3, 3, 1 and 2, 2, none
                together = gradients(variant, samples, count, processes)
                alone = gradients(variant, samples, count, ALONE)
                worst = 0.0
                for name, expected in alone.items():
                    found = together[name]
                    assert (found is None) == (expected is None), name
                    if found is not None and expected is not None:
                        worst = max(worst, float((found - expected).abs().max()))
                sys.stdout.write(f"{variant.value} {count} {worst:.3g}\n" * processes.is_first)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
