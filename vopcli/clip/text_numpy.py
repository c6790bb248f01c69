"""Forward pass of the text tower in NumPy, so that search loads no torch.

Axes: N texts, L tokens, D tower width, E joint width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape, TextTuning
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
    """`VideoTextModel.encode_text` on float32 arrays, which may be memory-mapped."""

    def __init__(
        self, tensors: Mapping[str, Floats], shape: ClipShape, tuning: TextTuning | None = None
    ) -> None:
        self.shape = shape
        self._tuning = tuning or TextTuning()
        self._tensors = dict(tensors)
        self._activate = {Activation.QUICK_GELU: _quick_gelu, Activation.GELU: _gelu}[shape.activation]

    def tuned(self, tensors: Mapping[str, Floats], tuning: TextTuning) -> NumpyTextTower:
        """Return the tower with added or replaced tensors and a changed structure.

        Raises:
            ValueError: a tensor that replaces one of the tower's own has another shape.
        """
        for name, tensor in tensors.items():
            if name in self._tensors and self._tensors[name].shape != tensor.shape:
                raise ValueError(f"{name} is {tensor.shape}, not {self._tensors[name].shape}")
        found = {**self._tensors, **tensors}
        if tuning.sublayer == "in_proj":
            for layer in range(self.shape.text_layers):
                change, name = f"text_adapters.{layer}", f"transformer.resblocks.{layer}.attn.in_proj_weight"
                found[name] = found[name] + found[f"{change}.up.weight"] @ found[f"{change}.down.weight"]
        return NumpyTextTower(found, self.shape, tuning)

    def encode(self, ids: NDArray[np.int64]) -> Floats:
        """Map token ids (N, L), zero after the end of each text, to L2-normalised embeddings (N, E) float32.

        Raises:
            ValueError: the texts are longer than the model's context.
        """
        if ids.shape[1] > self.max_tokens:
            raise ValueError(f"texts are {ids.shape[1]} tokens long, the model takes {self.max_tokens}")
        if self._tuning.suffix:  # stands before the last position, so padding matters
            ids = np.pad(ids, ((0, 0), (0, self.max_tokens - ids.shape[1])))
        last = self.shape.text_layers - 1
        shift = self._num_prompts if last in self._tuning.layers else 0
        end = ids.argmax(axis=1) + shift  # (N,), the first one if several
        tensors = self._tensors
        tokens = self._prompt(0, tensors["token_embedding.weight"][ids])
        tokens = tokens + tensors["positional_embedding"][: tokens.shape[1]]  # (N, L, D)
        for layer in range(self.shape.text_layers):
            tokens = self._prompt(layer, tokens) if layer else tokens
            tokens = self._block(layer, tokens)
        at_end = self._norm(tokens[np.arange(len(ids)), end], "ln_final")  # (N, D)
        embeddings = at_end @ tensors["text_projection"]  # (N, E)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, start and end included."""
        return self.shape.context_length - self._num_prompts

    @property
    def _num_prompts(self) -> int:
        return self._tuning.prefix + self._tuning.suffix

    def _prompt(self, layer: int, tokens: Floats) -> Floats:
        """Replace the prompts of the previous layer by those of this one, as `TextPrompts` does."""
        rows, prefix, suffix = self._tuning.layers, self._tuning.prefix, self._tuning.suffix
        had, has = layer - 1 in rows, layer in rows  # prompts of the previous layer, of this one
        if not (had or has):
            return tokens
        behind = tokens.shape[1] - 1 - (suffix if had else 0)
        parts = [tokens[:, :1], tokens[:, 1 + (prefix if had else 0) : behind], tokens[:, -1:]]
        if has:
            table = self._tensors["text_prompts.table"][rows.index(layer)]  # (P, D)
            prompts = np.broadcast_to(table, (len(tokens), *table.shape))
            parts = [parts[0], prompts[:, :prefix], parts[1], prompts[:, prefix:], parts[2]]
        return np.concatenate(parts, axis=1)

    def _block(self, layer: int, tokens: Floats) -> Floats:
        block = f"transformer.resblocks.{layer}"
        length = tokens.shape[1]
        causal_mask = np.triu(np.full((length, length), -np.inf, dtype=np.float32), 1)  # (L, L)
        normed = self._norm(tokens, f"{block}.ln_1")
        tokens = (
            tokens + self._attend(normed, f"{block}.attn", causal_mask) + self._adapt(layer, "attn", normed)
        )
        normed = self._norm(tokens, f"{block}.ln_2")
        return tokens + self._feed_forward(normed, f"{block}.mlp") + self._adapt(layer, "mlp", normed)

    def _adapt(self, layer: int, sublayer: str, tokens: Floats) -> Floats | np.float32:
        """Compute the output of the adapter beside a sublayer, as `vopcli.methods.adapters` does."""
        if self._tuning.sublayer != sublayer:
            return np.float32(0)
        name = f"text_adapters.{layer}"
        hidden = np.maximum(self._linear(tokens, f"{name}.down.weight", f"{name}.down.bias"), 0)
        return self._linear(hidden, f"{name}.up.weight", f"{name}.up.bias") * np.float32(self._tuning.scale)

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
        # With few rows most time goes into reading the matrix, and BLAS copies the right factor.
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
    with np.errstate(over="ignore"):  # exp of a large number is inf, and its inverse 0, which is correct
        return values / (1 + np.exp(values * np.float32(-1.702)))


def _gelu(values: Floats) -> Floats:
    """Compute x * Phi(x), with erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    size = np.abs(values) * np.float32(2**-0.5)
    step = 1 / (1 + np.float32(0.3275911) * size)
    polynomial: Floats = np.zeros_like(values)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = ((polynomial + np.float32(factor)) * step).astype(np.float32, copy=False)
    upper_tail = polynomial * np.exp(-size * size) / 2  # 1 - Phi(|x|)
    return values * np.where(values < 0, upper_tail, 1 - upper_tail)
