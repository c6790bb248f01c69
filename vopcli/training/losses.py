"""The contrastive loss, and its gradient for batches larger than the device holds.

Axes: B videos of a batch, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from vopcli.training.processes import ALONE, Processes


def contrastive_loss(text: Tensor, video: Tensor, logit_scale: Tensor) -> Tensor:
    """Return the symmetric cross entropy over a batch (VoP, section 3.1).

    Args:
        text: (B, E) L2-normalised embeddings; row i belongs to row i of ``video``, and to no other.
        video: (B, E) L2-normalised embeddings.
        logit_scale: (), the logarithm of the factor on the cosines.
    """
    logits = logit_scale.exp() * text @ video.T  # (B, B)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def backward_in_parts(
    embed: Sequence[Callable[[], tuple[Tensor, Tensor]]],
    logit_scale: Tensor,
    *,
    scale_loss: Callable[[Tensor], Tensor] = lambda loss: loss,
    processes: Processes = ALONE,
    count: int | None = None,
) -> Tensor:
    """Compute the loss of a whole batch and its gradient, holding the activations of one part at a time.

    All embeddings are computed first without a graph; the loss gives the gradient of each; then each part is
    computed again with a graph, and the gradient of its embeddings is propagated back. So every video is a
    negative of every text, as in a single pass (Gao et al., "Scaling Deep Contrastive Learning Batch Size
    under Memory Limited Setup", 2021).

    Args:
        embed: one function for each part; returns its (text, video) embeddings, equal on every call.
        logit_scale: () tensor, the factor of the cosines.
        scale_loss: multiplies the loss, as a gradient scaler does.
        processes: the processes that share the batch; `Processes.sum_gradients` adds up their gradients.
        count: number of videos in the whole batch; None: in the parts.

    Returns:
        () tensor, the loss of the whole batch, detached.

    Raises:
        LostProcessError: another process ended.
    """
    if len(embed) == 1 and processes.size == 1:
        loss = contrastive_loss(*embed[0](), logit_scale)
        scale_loss(loss).backward()
        return loss.detach()
    keeps_graph = len(embed) == 1
    with torch.set_grad_enabled(keeps_graph):
        parts = [part() for part in embed]
    sizes = [len(text) for text, _ in parts]
    text, video = (
        processes.gather(torch.cat(side), count or sum(sizes)).requires_grad_()
        for side in zip(*parts, strict=True)
    )
    loss = contrastive_loss(text, video, logit_scale)
    scale_loss(loss).backward()  # reaches the embeddings, and the logit scale where it is trained
    if logit_scale.grad is not None:
        logit_scale.grad /= processes.size  # the same in all processes, and summed over them
    sides = (processes.own_gradient(cast("Tensor", side.grad)).split(sizes) for side in (text, video))
    for number, gradient in enumerate(zip(*sides, strict=True)):
        outputs = [
            (output, given)
            for output, given in zip(parts[0] if keeps_graph else embed[number](), gradient, strict=True)
            if output.requires_grad
        ]
        torch.autograd.backward([output for output, _ in outputs], [given for _, given in outputs])
    return loss.detach()
