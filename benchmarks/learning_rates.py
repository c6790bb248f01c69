"""Search a learning rate for each variant on the demo set: the highest R@1 on held-out training videos.

Run: python benchmarks/learning_rates.py DIR, where `vop demo DIR` and its first command, which extracts the
frames, were run before.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from side_by_side import machine, markdown_table, write_results
from study import demo_config

from vopcli.clip.device import choose_device, choose_precision
from vopcli.config.choices import Variant
from vopcli.progress import SilentProgress
from vopcli.training.prepare import TrainRequest, prepare
from vopcli.training.train import run

EPOCHS = 2
# Half decades within the paper's range, 1e-6 to 1e-2. The demo's settings hold out a fifth of the training
# videos, 86; the test split is not looked at.
RATES = {
    Variant.FULL: (3e-5, 1e-4, 3e-4, 1e-3),
    Variant.BIAS: (1e-3, 3e-3, 1e-2),
    Variant.PROJ: (3e-4, 1e-3, 3e-3),
    Variant.PARTIAL: (3e-4, 1e-3, 3e-3),
    Variant.ADAPTER_ATTN: (1e-3, 3e-3, 1e-2),
    Variant.ADAPTER_FFN: (1e-3, 3e-3, 1e-2),
    Variant.VOP: (1e-3, 3e-3, 1e-2),
    Variant.P: (1e-3, 3e-3, 1e-2),
    Variant.C: (3e-4, 1e-3, 3e-3),
    Variant.F: (1e-3, 3e-3, 1e-2),
    Variant.P_F: (1e-3, 3e-3, 1e-2),
    Variant.C_F: (3e-4, 1e-3, 3e-3),
    Variant.LORA_P: (1e-3, 3e-3, 1e-2),
}


def main() -> None:
    """Train with every rate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `vop demo` whose frames are extracted")
    demo = parser.parse_args().demo
    with tempfile.TemporaryDirectory() as output:
        found = {
            (variant, rate): try_rate(demo, variant, rate, Path(output))
            for variant, rates in RATES.items()
            for rate in rates
        }
    write_results("learning_rates", report(found))


def try_rate(demo: Path, variant: Variant, rate: float, output: Path) -> tuple[float, float]:
    """Train with ``rate``; return R@1 of its best epoch on the held-out videos, t2v and v2t in percent."""
    config = demo_config(demo, variant, epochs=EPOCHS)
    training = replace(config.training, lr=rate, output=str(output))
    request = TrainRequest(replace(config, training=training), overwrite=True)
    best = run(prepare(request, SilentProgress()), SilentProgress()).selected
    print(variant.value, rate, best, flush=True)
    return best.metrics["t2v R@1"], best.metrics["v2t R@1"]


def report(found: dict[tuple[Variant, float], tuple[float, float]]) -> str:
    """Write a row for each variant; the rate with the highest sum is marked."""
    columns = sorted({rate for _, rate in found})
    rows = []
    for variant, rates in RATES.items():
        best = max(rates, key=lambda rate: sum(found[variant, rate]))
        cells = {
            rate: f"{'**' * (rate == best)}{found[variant, rate][0]:.0f} / {found[variant, rate][1]:.0f}"
            f"{'**' * (rate == best)}"
            for rate in rates
        }
        rows.append([variant.value, *(cells.get(rate, "") for rate in columns)])
    precision = choose_precision("auto", choose_device("auto")).value
    return (
        "# Learning rates on the demo set\n\nR@1 on 86 held-out training videos, t2v / v2t in percent, "
        f"after {EPOCHS} epochs with seed 0; the highest sum is marked. Products in {precision}; "
        f"{machine()}.\n\n" + markdown_table(["variant", *(f"{rate:g}" for rate in columns)], rows)
    )


if __name__ == "__main__":
    main()
