"""The text tower's forward in NumPy, so that a search need not load torch.

Axes: N texts, L tokens, D tower width, E joint width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation

Floats = NDArray[np.float32]

_EPSILON = np.float32(1e-5)  # of PyTorch's LayerNorm
_FEW_ROWS = 32


def text_tensors(shape: ClipShape) -> list[str]:
    """Return the names of the tensors that the text tower needs."""
    return [
        name for name in shape.tensor_shapes() if not name.startswith("visual.") and name != "logit_scale"
    ]


class NumpyTextTower:
    """``Clip.encode_text`` and L2 normalisation, on float32 arrays that may be mapped files."""

    def __init__(self, tensors: Mapping[str, Floats], shape: ClipShape) -> None:
        self.shape = shape
        self._tensors = {name: tensors[name] for name in text_tensors(shape)}
        self._activate = {Activation.QUICK_GELU: _quick_gelu, Activation.GELU: _gelu}[shape.activation]

    def encode(self, ids: NDArray[np.int64]) -> Floats:
        """Map token ids (N, L), zero after the end of each text, to L2-normalised embeddings (N, E) float32.

        Raises:
            ValueError: the texts are longer than the model's context.
        """
        if ids.shape[1] > self.shape.context_length:
            raise ValueError(
                f"texts are {ids.shape[1]} tokens long, the model takes {self.shape.context_length}"
            )
        end = ids.argmax(axis=1)  # (N,), the first where there are several
        causal_mask = np.triu(np.full((ids.shape[1],) * 2, -np.inf, dtype=np.float32), 1)  # (L, L)
        tensors = self._tensors
        tokens = (
            tensors["token_embedding.weight"][ids] + tensors["positional_embedding"][: ids.shape[1]]
        )  # (N, L, D)
        for layer in range(self.shape.text_layers):
            block = f"transformer.resblocks.{layer}"
            tokens += self._attend(self._norm(tokens, f"{block}.ln_1"), f"{block}.attn", causal_mask)
            tokens += self._feed_forward(self._norm(tokens, f"{block}.ln_2"), f"{block}.mlp")
        at_end = self._norm(tokens[np.arange(len(ids)), end], "ln_final")  # (N, D)
        embeddings = at_end @ tensors["text_projection"]  # (N, E)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def _attend(self, tokens: Floats, name: str, mask: Floats) -> Floats:
        texts, length, width = tokens.shape
        heads = self.shape.text_heads
        projected = self._linear(tokens, f"{name}.in_proj_weight", f"{name}.in_proj_bias")
        split = projected.reshape(texts, length, 3, heads, width // heads)  # (N, L, 3, H, K)
        query, key, value = split.transpose(2, 0, 3, 1, 4)  # 3 x (N, H, L, K)
        scores = query @ key.swapaxes(-1, -2) * np.float32((width // heads) ** -0.5)  # (N, H, L, L)
        scores += mask
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, length, width)  # (N, L, D)
        return self._linear(mixed, f"{name}.out_proj.weight", f"{name}.out_proj.bias")

    def _feed_forward(self, tokens: Floats, name: str) -> Floats:
        inner = self._activate(self._linear(tokens, f"{name}.c_fc.weight", f"{name}.c_fc.bias"))
        return self._linear(inner, f"{name}.c_proj.weight", f"{name}.c_proj.bias")

    def _linear(self, tokens: Floats, weight: str, bias: str) -> Floats:
        flat = tokens.reshape(-1, tokens.shape[-1])  # (N * L, D): one matrix product
        matrix = self._tensors[weight]
        # With few rows most time goes into reading the matrix, which BLAS copies if it is the right factor.
        result = (matrix @ flat.T).T if len(flat) <= _FEW_ROWS else flat @ matrix.T
        return (result + self._tensors[bias]).reshape(*tokens.shape[:-1], len(matrix))

    def _norm(self, tokens: Floats, name: str) -> Floats:
        centred = tokens - tokens.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        centred /= np.sqrt(variance + _EPSILON)
        centred *= self._tensors[f"{name}.weight"]
        centred += self._tensors[f"{name}.bias"]
        return centred


def _quick_gelu(values: Floats) -> Floats:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and its inverse rightly 0
        return values / (1 + np.exp(values * np.float32(-1.702)))


def _gelu(values: Floats) -> Floats:
    """Compute x * Phi(x), with erf after Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7."""
    size = np.abs(values) * np.float32(2**-0.5)
    step = 1 / (1 + np.float32(0.3275911) * size)
    polynomial: Floats = np.zeros_like(values)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = ((polynomial + np.float32(factor)) * step).astype(np.float32, copy=False)
    upper_tail = polynomial * np.exp(-size * size) / 2  # 1 - Phi(|x|)
    return values * np.where(values < 0, upper_tail, 1 - upper_tail)
