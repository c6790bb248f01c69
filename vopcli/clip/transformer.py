"""The pre-norm transformer of both towers (CLIP, section 2.4), and hooks around its layers.

Modules and parameters keep OpenAI's names (``resblocks``, ``ln_1``, ``in_proj_weight``, ``c_fc``), so that a
state dict needs no translation.

Axes: N sequences, L tokens, D tower width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vopcli.clip.rotary import rotate, sequence_rotations
from vopcli.config.choices import Activation

MAX_PLAIN_TOKENS = 1024  # longest sequence whose whole matrix of attention scores is held in memory


class LayerHook(Protocol):
    """A change to the tokens between the layers of a tower, such as prompts or joint attention over frames.

    Layers count from 0. `before` and `after` may return the tokens unchanged, or with another N or L.
    """

    def before(self, layer: int, tokens: Tensor) -> Tensor:
        """Map the tokens (N, L, D) that enter ``layer``.

        For layer 0 the vision tower calls it after the positional embedding and before ln_pre, the text tower
        before the positional embedding.
        """

    def num_read(self, layer: int) -> int | None:
        """Return the number of tokens that ``layer`` computes, as the end of a slice.

        For example 1: the first, -8: all but the last eight, None: all. The others are only attended to.
        """

    def after(self, layer: int, tokens: Tensor) -> Tensor:
        """Map the tokens (N, L, D) that ``layer`` returned."""


class _QuickGelu(torch.autograd.Function):
    """x * sigmoid(1.702 x) = silu(1.702 x) / 1.702; its derivative is that of silu at 1.702 x."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        scaled = tokens * 1.702
        ctx.save_for_backward(scaled)
        return functional.silu(scaled).mul_(1 / 1.702)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.ops.aten.silu_backward(gradients[0], *ctx.saved_tensors)


def quick_gelu(tokens: Tensor) -> Tensor:
    """Map each x to x * sigmoid(1.702 x), the approximation of GELU that OpenAI trained with.

    Without gradients it works in place, as allocating memory takes as long as the arithmetic.
    """
    if tokens.requires_grad:
        return _QuickGelu.apply(tokens)
    return functional.silu(tokens.mul_(1.702), inplace=True).mul_(1 / 1.702)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.QUICK_GELU: quick_gelu,
    Activation.GELU: functional.gelu,
}


class LayerNorm(nn.LayerNorm):
    """A LayerNorm that computes in the dtype of its weights and returns the dtype of its input."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return super().forward(tokens.to(self.weight.dtype)).to(tokens.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Mix values (N, H, L, K) by the softmax of query (N, H, R, K) times key (N, H, L, K): (N, H, R, K).

    On a CPU, torch's fused kernel computes bfloat16 in float32: two plain products are up to twice as fast,
    and seven times in the backward pass. They hold all scores, so long sequences use the kernel.
    """
    is_short = key.shape[-2] <= MAX_PLAIN_TOKENS
    if key.device.type == "cpu" and key.dtype == torch.bfloat16 and is_short:
        return _attend_plainly(query, key, value, is_causal=is_causal)
    return functional.scaled_dot_product_attention(query, key, value, is_causal=is_causal)


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (N, H, R, L)
    if is_causal:
        is_later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(is_later, -torch.inf)
    return scores.softmax(dim=-1) @ value


class ProjectionChange(Protocol):
    """A change of the matrix (3 D, D) of a layer's queries, keys and values."""

    def __call__(self, tokens: Tensor, rows: slice) -> Tensor:
        """Map (N, L, D) by ``rows`` of the change."""

    def matrix(self) -> Tensor:
        """Return the change (3 D, D)."""


class SelfAttention(nn.Module):
    """Multi-head attention; one matrix holds the three projections, with rows in the order q, k, v."""

    def __init__(self, width: int, heads: int, *, is_causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.is_causal = is_causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.changes: tuple[ProjectionChange, ...] = ()

    @torch.no_grad()
    def merge_changes(self) -> None:
        """Add the changes to the matrix."""
        for change in self.changes:
            self.in_proj_weight.add_(change.matrix())
        self.changes = ()

    def forward(self, tokens: Tensor, num_read: int | None = None, rotations: Tensor | None = None) -> Tensor:
        """Map (N, L, D) to (N, L, D), or only the tokens ``[:num_read]`` to (N, R, D).

        Queries and keys are rotated by ``rotations`` (L, K / 2) complex, if given.
        """
        if num_read is None:
            query, key, value = self._project(tokens, slice(None))
            return self._mix(query, key, value, rotations)
        # torch copies the matrix once per sequence for a view
        return self.read(tokens[:, :num_read].contiguous(), tokens, rotations)

    def read(self, reading: Tensor, tokens: Tensor, rotations: Tensor | None = None) -> Tensor:
        """Let ``reading`` (N, R, D) attend to ``tokens`` (N, L, D): (N, R, D)."""
        width = tokens.shape[-1]
        (query,) = self._project(reading, slice(width))
        key, value = self._project(tokens, slice(width, None))
        return self._mix(query, key, value, rotations)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, rotations: Tensor | None) -> Tensor:
        if rotations is not None:
            query, key = rotate(query, rotations), rotate(key, rotations)
        mixed = attend(query, key, value, is_causal=self.is_causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # (N, L, D)

    def _project(self, tokens: Tensor, rows: slice) -> tuple[Tensor, ...]:
        """Map (N, L, D) by ``rows`` of the matrix to one (N, H, L, K) for each projection in them."""
        weight, bias = self.in_proj_weight[rows], self.in_proj_bias[rows]
        projected = functional.linear(tokens, weight, bias)
        for change in self.changes:
            projected = projected + change(tokens, rows)
        split = projected.unflatten(-1, (-1, self.heads, tokens.shape[-1] // self.heads))  # (N, L, 3, H, K)
        return split.permute(2, 0, 3, 1, 4).unbind()


class FeedForward(nn.Module):
    """Two linear maps with an activation; the hidden width is 4 D."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[activation]
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, D) to (N, L, D)."""
        return self.c_proj(self.activate(self.c_fc(tokens)))


class Block(nn.Module):
    """One layer: attention and feed-forward network, each on normalised tokens and added to its input."""

    def __init__(self, width: int, heads: int, *, is_causal: bool, activation: Activation) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = SelfAttention(width, heads, is_causal=is_causal)
        self.ln_2 = LayerNorm(width)
        self.mlp = FeedForward(width, activation)

    def forward(self, tokens: Tensor, num_read: int | None = None, rotations: Tensor | None = None) -> Tensor:
        """Map (N, L, D) to (N, L, D), or only the tokens ``[:num_read]`` to (N, R, D)."""
        tokens = tokens[:, :num_read] + self.attn(self.ln_1(tokens), num_read, rotations)
        return tokens + self.mlp(self.ln_2(tokens))


class Transformer(nn.Module):
    """A stack of layers, initialised at random with OpenAI's scales."""

    def __init__(
        self, *, width: int, layers: int, heads: int, is_causal: bool, activation: Activation
    ) -> None:
        super().__init__()
        blocks = [Block(width, heads, is_causal=is_causal, activation=activation) for _ in range(layers)]
        self.resblocks = nn.ModuleList(blocks)
        self.recomputes = False  # activation checkpointing: recompute each layer in the backward pass
        into_residual_std = (2 * layers * width) ** -0.5
        for block in blocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=into_residual_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=into_residual_std)

    def forward(
        self,
        tokens: Tensor,
        hook: LayerHook | None = None,
        *,
        num_read: int | None = None,
        rotations: Tensor | None = None,
    ) -> Tensor:
        """Map (N, L, D) to (N, L, D); the tower itself calls ``hook.before(0, .)``.

        Without a hook, the last layer computes only the first ``num_read`` tokens of each sequence, if given;
        with a hook, `LayerHook.num_read` decides for each layer. ``rotations`` are those of one image; a hook
        may join images to a sequence as in `sequence_rotations`.
        """
        images, turns = len(tokens), rotations
        for layer, block in enumerate(self.resblocks):
            if hook is not None and layer > 0:
                tokens = hook.before(layer, tokens)
            if hook is not None:
                wanted = hook.num_read(layer)
            else:
                wanted = num_read if layer == len(self.resblocks) - 1 else None
            if rotations is not None:
                frames = images // max(len(tokens), 1)
                turns = sequence_rotations(rotations, frames=frames, length=tokens.shape[1])
            if self.recomputes and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, wanted, turns, use_reentrant=False)
            else:
                tokens = block(tokens, wanted, turns)
            if hook is not None:
                tokens = hook.after(layer, tokens)
        return tokens
