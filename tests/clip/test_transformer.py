import math

import pytest
import torch
from torch.nn import functional

from vopcli.clip.transformer import (
    ACTIVATIONS,
    MAX_PLAIN_TOKENS,
    LayerNorm,
    SelfAttention,
    Transformer,
    attend,
    quick_gelu,
)
from vopcli.config.choices import Activation

WIDTH, HEADS, LAYERS, LENGTH = 30, 3, 4, 7


def small_transformer(*, is_causal: bool = False) -> Transformer:
    torch.manual_seed(0)
    return Transformer(
        width=WIDTH, layers=LAYERS, heads=HEADS, is_causal=is_causal, activation=Activation.QUICK_GELU
    ).requires_grad_(False)


class Recorder:
    """A hook that changes nothing and remembers where it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, tuple[int, ...]]] = []

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        self.calls.append(("before", layer, tuple(tokens.shape)))
        return tokens

    def num_read(self, layer: int) -> int | None:
        return None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        self.calls.append(("after", layer, tuple(tokens.shape)))
        return tokens


def test_idle_hook_is_bit_identical_and_sees_every_layer() -> None:
    transformer, recorder = small_transformer(), Recorder()
    tokens = torch.randn(2, LENGTH, WIDTH)
    assert torch.equal(transformer(tokens, recorder), transformer(tokens))
    expected = [(when, layer) for layer in range(LAYERS) for when in ("before", "after")][1:]
    assert [call[:2] for call in recorder.calls] == expected  # before(0) is the tower's to call
    assert {call[2] for call in recorder.calls} == {(2, LENGTH, WIDTH)}


class JoinFrames:
    """From the third layer on, attend over all frames of a video at once."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.reshape(-1, self.frames * LENGTH, WIDTH) if layer == 2 else tokens

    def num_read(self, layer: int) -> int | None:
        return None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.reshape(-1, LENGTH, WIDTH) if layer == LAYERS - 1 else tokens


def test_hook_may_change_batch_and_length() -> None:
    transformer = small_transformer()
    tokens = torch.randn(6, LENGTH, WIDTH)
    joined = transformer(tokens, JoinFrames(3))
    blocks = transformer.resblocks
    expected = blocks[1](blocks[0](tokens)).reshape(2, 3 * LENGTH, WIDTH)
    expected = blocks[3](blocks[2](expected)).reshape(6, LENGTH, WIDTH)
    assert torch.equal(joined, expected)
    assert not torch.allclose(joined, transformer(tokens), atol=1e-3)


class AddPrompts:
    """Put one token in front of each layer's sequence and throw its output away."""

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(tokens[:, :1], layer), tokens], dim=1)

    def num_read(self, layer: int) -> int | None:
        return None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:]


def test_hook_may_lengthen_each_layer() -> None:
    transformer = small_transformer(is_causal=True)
    tokens = torch.randn(2, LENGTH, WIDTH)
    hook = AddPrompts()
    expected = transformer.resblocks[0](hook.before(0, tokens))[:, 1:]
    for layer in range(1, LAYERS):
        expected = transformer.resblocks[layer](hook.before(layer, expected))[:, 1:]
    assert torch.equal(transformer(hook.before(0, tokens), hook), expected)


def test_causal_layers_do_not_see_ahead() -> None:
    tokens = torch.randn(1, LENGTH, WIDTH)
    changed = tokens.clone()
    changed[:, 4] = torch.randn(WIDTH)
    causal, free = small_transformer(is_causal=True), small_transformer()
    torch.testing.assert_close(causal(tokens)[:, :4], causal(changed)[:, :4], rtol=0, atol=1e-6)
    assert not torch.allclose(causal(tokens)[:, 4:], causal(changed)[:, 4:], atol=1e-3)
    assert not torch.allclose(free(tokens)[:, :4], free(changed)[:, :4], atol=1e-3)


@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_by_hand(is_causal: bool) -> None:
    """Head by head, token by token, in plain arithmetic."""
    torch.manual_seed(1)
    attention = SelfAttention(WIDTH, HEADS, is_causal=is_causal).double().requires_grad_(False)
    torch.nn.init.normal_(attention.in_proj_weight, std=0.3)
    torch.nn.init.normal_(attention.in_proj_bias, std=0.3)
    tokens = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    rows = tokens[0] @ attention.in_proj_weight.T + attention.in_proj_bias
    head_width = WIDTH // HEADS
    mixed = torch.zeros(LENGTH, WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        query, key, value = (rows[:, part * WIDTH + head * head_width :][:, :head_width] for part in range(3))
        for place in range(LENGTH):
            last = place + 1 if is_causal else LENGTH
            weights = [
                math.exp(float(query[place] @ key[other]) / math.sqrt(head_width)) for other in range(last)
            ]
            mixed[place, head * head_width : (head + 1) * head_width] = sum(
                weight / sum(weights) * value[other] for other, weight in enumerate(weights)
            )
    expected = mixed @ attention.out_proj.weight.T + attention.out_proj.bias
    torch.testing.assert_close(attention(tokens)[0], expected, rtol=1e-9, atol=1e-9)


def random_heads(num_read: int, length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Query, key and value (2, 3, ., 5), laid out as one projection gives them."""
    torch.manual_seed(2)
    projected = torch.randn(2, length, 3, 3, 5).to(dtype).permute(2, 0, 3, 1, 4)
    query, key, value = (part.detach().requires_grad_() for part in projected.unbind())
    return [query[:, :, :num_read], key, value]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_read", [1, 4, LENGTH])
def test_attention_in_bfloat16_and_its_gradient_are_those_of_float64(num_read: int, is_causal: bool) -> None:
    heads = random_heads(num_read, LENGTH, torch.bfloat16)
    found = attend(*heads, is_causal=is_causal)
    assert found.dtype == torch.bfloat16
    exact = [part.detach().double().requires_grad_() for part in heads]
    query, key, value = exact
    scores = torch.einsum("nhrk,nhlk->nhrl", query, key) / math.sqrt(5)
    if is_causal:
        is_later = torch.arange(LENGTH) > torch.arange(num_read)[:, None]
        scores = torch.where(is_later, -torch.inf, scores)
    expected = torch.einsum("nhrl,nhlk->nhrk", scores.softmax(dim=-1), value)
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.02)
    weight = torch.randn(found.shape)
    gradients = torch.autograd.grad((found * weight).sum(), heads)
    for gradient, wanted in zip(
        gradients, torch.autograd.grad((expected * weight).sum(), exact), strict=True
    ):
        torch.testing.assert_close(gradient.double(), wanted, rtol=0.03, atol=0.03)


def test_long_sequences_in_bfloat16_hold_no_scores() -> None:
    """What has no scores of (R, L) needs no memory for them: only the fused kernel gives its own rounding."""
    for length, is_fused in ((MAX_PLAIN_TOKENS, False), (MAX_PLAIN_TOKENS + 1, True)):
        heads = random_heads(length, length, torch.bfloat16)
        fused = functional.scaled_dot_product_attention(*heads)
        assert torch.equal(attend(*heads, is_causal=False), fused) is is_fused


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quick_gelu(dtype: torch.dtype) -> None:
    values = torch.linspace(-60, 60, 4001).to(dtype)
    expected = values.double() / (1 + torch.exp(-1.702 * values.double()))
    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(quick_gelu(values.clone()).double(), expected, rtol=tolerance, atol=tolerance)


def test_quick_gelu_has_the_right_gradient() -> None:
    values = torch.randn(50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick_gelu, values)
    assert set(ACTIVATIONS) == set(Activation)


def test_prompts_get_gradients_through_a_frozen_transformer() -> None:
    """In-place arithmetic must not reach what a gradient needs."""
    transformer = small_transformer().double()
    tokens = torch.randn(1, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transformer, tokens)


def test_layer_norm_computes_in_the_precision_of_its_weights() -> None:
    norm = LayerNorm(WIDTH).requires_grad_(False)
    large = (torch.randn(5, WIDTH) * 3000).half()  # whose squares float16 cannot hold
    found = norm(large)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, functional.layer_norm(large.float(), (WIDTH,)).half(), rtol=0, atol=0)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_read", [1, 3, LENGTH])
def test_the_last_layer_may_compute_what_is_read_alone(num_read: int, is_causal: bool) -> None:
    transformer = small_transformer(is_causal=is_causal)
    tokens = torch.randn(2, LENGTH, WIDTH)
    read = transformer(tokens, num_read=num_read)
    torch.testing.assert_close(read, transformer(tokens)[:, :num_read], rtol=1e-5, atol=1e-5)
    assert read.shape == (2, num_read, WIDTH)


class Leave(Recorder):
    """Leave out the last two tokens in the first layer, and all but three in the last."""

    def num_read(self, layer: int) -> int | None:
        return {0: -2, LAYERS - 1: 3}.get(layer)


def test_a_hook_may_leave_tokens_out_that_are_attended_to() -> None:
    transformer = small_transformer()
    tokens = torch.randn(2, LENGTH, WIDTH)
    expected = transformer.resblocks[0](tokens)[:, :-2]
    for block in transformer.resblocks[1:]:
        expected = block(expected)
    found = transformer(tokens, Leave())
    torch.testing.assert_close(found, expected[:, :3], rtol=1e-5, atol=1e-5)
    cut = transformer(tokens[:, :-2], Leave())
    assert not torch.allclose(found[:, :3], cut[:, :3], atol=1e-3)
