"""The optimizer and its schedule: AdamW with a cosine (VoP, section 4.1), both with timm's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vopcli.config.choices import Variant
from vopcli.config.schema import TrainingConfig
from vopcli.tuning.model import VideoTextModel

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler

ADAM_EPS = 1e-6  # X-Pool's; the paper names none
# Peak learning rates. The paper searched within 1e-6..1e-2 for each method and printed none. Those of what
# is added to the backbone are searched on the demo set (benchmarks/learning_rates.py). Those of the
# backbone's own tensors depend on the backbone, and demo-tiny's (workflows/demo_study.py) would harm
# OpenAI's: full has X-Pool's, the other three are not searched for it.
LEARNING_RATES: dict[Variant, float] = {
    Variant.FULL: 1e-6,
    Variant.BIAS: 1e-3,
    Variant.PROJ: 1e-3,
    Variant.PARTIAL: 1e-4,
    Variant.ADAPTER_ATTN: 1e-2,
    Variant.ADAPTER_FFN: 1e-2,
    Variant.VOP: 1e-2,
    Variant.P: 1e-2,
    Variant.C: 1e-3,
    Variant.F: 1e-2,
    Variant.P_F: 1e-2,
    Variant.C_F: 1e-3,
}


def build_optimizer(model: VideoTextModel, config: TrainingConfig, lr: float) -> torch.optim.AdamW:
    """Return AdamW over what is trained; vectors and scalars are not decayed (timm's parameter groups)."""
    from timm.optim import param_groups_weight_decay

    groups = param_groups_weight_decay(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=lr, eps=ADAM_EPS)


def build_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, *, num_steps: int
) -> CosineLRScheduler:
    """Return a schedule by steps: a linear rise over ``config.warmup`` of them, then a cosine to 0."""
    from timm.scheduler import CosineLRScheduler

    warmup_steps = int(config.warmup * num_steps)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(2, num_steps - warmup_steps),  # of a cosine over one step timm warns
        warmup_t=warmup_steps,
        warmup_prefix=True,
        t_in_epochs=False,
    )
