"""Attention pooling against torch's own attention."""

import torch
from torch import nn
from torch.nn import functional

from vopcli.clip.attention_pool import AttentionPool
from vopcli.config.choices import Activation

WIDTH, HEADS = 40, 8


def test_pool_is_torchs_attention_of_one_query_and_a_feed_forward_network() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(WIDTH, Activation.GELU)
    for parameter in pool.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.load_state_dict(pool.attn.state_dict())
    tokens = torch.randn(3, 7, WIDTH)
    read = theirs(pool.probe.expand(3, -1, -1), tokens, tokens)[0][:, 0]
    normed = functional.layer_norm(read, (WIDTH,), pool.layernorm.weight, pool.layernorm.bias)
    hidden = functional.gelu(pool.mlp.c_fc(normed))
    torch.testing.assert_close(pool(tokens), read + pool.mlp.c_proj(hidden), rtol=1e-5, atol=1e-5)
