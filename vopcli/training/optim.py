"""AdamW with a cosine schedule (VoP, section 4.1), built with timm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vopcli.config.schema import TrainingConfig
from vopcli.methods.model import VideoTextModel

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler

ADAM_EPS = 1e-6  # as in X-Pool; the paper gives none


def build_optimizer(model: VideoTextModel, config: TrainingConfig, lr: float) -> torch.optim.AdamW:
    """Return AdamW over the trained parameters, without weight decay for vectors and scalars."""
    from timm.optim import param_groups_weight_decay

    groups = param_groups_weight_decay(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=lr, eps=ADAM_EPS)


def build_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, *, num_steps: int
) -> CosineLRScheduler:
    """Return a schedule by steps: linear over the fraction ``config.warmup``, then a cosine to 0."""
    from timm.scheduler import CosineLRScheduler

    warmup_steps = int(config.warmup * num_steps)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(2, num_steps - warmup_steps),  # timm warns of a cosine over one step
        warmup_t=warmup_steps,
        warmup_prefix=True,
        t_in_epochs=False,
    )
