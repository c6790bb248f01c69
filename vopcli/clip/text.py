"""The text tower: a causal transformer over the tokens of a text (CLIP, section 2.4).

Axes: N texts, L tokens, D tower width, E joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vopcli.clip.shape import ClipShape
from vopcli.clip.transformer import LayerHook, LayerNorm, Transformer


class TextTransformer(nn.Module):
    """The text tower; the embedding of a text is read at its end-of-text token."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width = shape.text_width
        self.token_embedding = nn.Embedding(shape.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(shape.context_length, width))
        self.transformer = Transformer(
            width=width,
            layers=shape.text_layers,
            heads=shape.text_heads,
            is_causal=True,
            activation=shape.activation,
        )
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, shape.embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def encode_text(self, tokens: Tensor, hook: LayerHook | None = None) -> Tensor:
        """Map token ids (N, L) int64, zero after the end of each text, to unnormalised embeddings (N, E).

        The end of a text is its first highest id. Attention is causal, so columns after the longest text
        have no effect and are best left out.

        Raises:
            ValueError: the texts, with the tokens that ``hook`` adds, are longer than the model's context.
        """
        end = tokens.argmax(dim=-1)  # (N,), the first one if several
        embedded = self.token_embedding(tokens)  # (N, L, D)
        if hook is not None:
            embedded = hook.before(0, embedded)
        length, max_tokens = embedded.shape[1], len(self.positional_embedding)
        if length > max_tokens:
            raise ValueError(f"texts are {length} tokens long, the model takes {max_tokens}")
        encoded = self.transformer(embedded + self.positional_embedding[:length], hook)
        at_end = encoded[torch.arange(len(end), device=end.device), end]  # (N, D)
        return self.ln_final(at_end) @ self.text_projection  # (N, E)
