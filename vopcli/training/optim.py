"""The optimizer and its schedule: AdamW with a cosine (VoP, section 4.1), both with timm's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vopcli.config.schema import TrainingConfig
from vopcli.methods.model import VideoTextModel

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler

ADAM_EPS = 1e-6  # X-Pool's; the paper names none


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
