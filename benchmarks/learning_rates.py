"""Search a learning rate for each variant on the demo set: the highest R@1 on held-out training videos."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from vopcli.config.choices import Variant
from vopcli.progress import SilentProgress
from vopcli.workflows.demo_tune import demo_config
from vopcli.workflows.train import TrainRequest, prepare, run

EPOCHS = 2
VAL_SHARE = 0.2  # 86 of the 432 training videos; the test split is not looked at
# half decades within the paper's range, 1e-6 to 1e-2; what trains the backbone's own tensors is tried lower
RATES = {
    Variant.FULL: (3e-5, 1e-4, 3e-4, 1e-3),
    Variant.PARTIAL: (3e-4, 1e-3, 3e-3),
    Variant.PROJ: (3e-4, 1e-3, 3e-3),
    Variant.BIAS: (1e-3, 3e-3, 1e-2),
    Variant.ADAPTER_ATTN: (1e-3, 3e-3, 1e-2),
    Variant.ADAPTER_FFN: (1e-3, 3e-3, 1e-2),
    Variant.VOP: (1e-3, 3e-3, 1e-2),
    Variant.P: (1e-3, 3e-3, 1e-2),
    Variant.C: (3e-4, 1e-3, 3e-3),
    Variant.F: (1e-3, 3e-3, 1e-2),
    Variant.P_F: (1e-3, 3e-3, 1e-2),
    Variant.C_F: (3e-4, 1e-3, 3e-3),
}


def main() -> None:
    """Print a JSON line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `vop demo` whose frames are extracted")
    parser.add_argument("variants", nargs="*", type=Variant, help="all of them unless named")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as output:
        for variant in chosen.variants or RATES:
            for rate in RATES[variant]:
                print(json.dumps(try_rate(chosen.demo, variant, rate, Path(output))), flush=True)


def try_rate(demo: Path, variant: Variant, rate: float, output: Path) -> dict[str, object]:
    """Train with ``rate``, and return what its last epoch reaches on the held-out videos."""
    config = demo_config(demo, variant, epochs=EPOCHS)
    training = replace(config.training, lr=rate, val_share=VAL_SHARE, output=str(output))
    request = TrainRequest(replace(config, training=training), overwrite=True)
    best = run(prepare(request, SilentProgress()), SilentProgress())["selected"]
    return {"variant": variant.value, "lr": rate, "t2v R@1": best["t2v R@1"], "v2t R@1": best["v2t R@1"]}


if __name__ == "__main__":
    main()
