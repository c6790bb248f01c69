"""VoP written down a second time, slowly: loops over frames, layers, heads and tokens, and no code of ours.

Written from the paper's equations; weights come as a dict of OpenAI's tensor names, prompts as plain tensors.
Everything is float64 vectors and Python lists: what is fast elsewhere has to agree with what is plain here.
"""

import math

import torch

Weights = dict[str, torch.Tensor]


def layer_norm(vector: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    mean = vector.sum() / len(vector)
    variance = ((vector - mean) ** 2).sum() / len(vector)
    return (vector - mean) / torch.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(
    tokens: list[torch.Tensor], weights: Weights, name: str, heads: int, causal: bool
) -> list[torch.Tensor]:
    width = len(tokens[0])
    head_width = width // heads
    projected = [
        weights[f"{name}.in_proj_weight"] @ token + weights[f"{name}.in_proj_bias"] for token in tokens
    ]
    outputs = []
    for i in range(len(tokens)):
        parts = []
        for head in range(heads):
            rows = slice(head * head_width, (head + 1) * head_width)
            seen = range(i + 1) if causal else range(len(tokens))
            query = projected[i][:width][rows]
            scores = [
                float(query @ projected[j][width : 2 * width][rows]) / math.sqrt(head_width) for j in seen
            ]
            top = max(scores)
            shares = [math.exp(score - top) for score in scores]
            total = sum(shares)
            parts.append(
                sum(
                    share / total * projected[j][2 * width :][rows]
                    for share, j in zip(shares, seen, strict=True)
                )
            )
        mixed = torch.cat(parts)
        outputs.append(weights[f"{name}.out_proj.weight"] @ mixed + weights[f"{name}.out_proj.bias"])
    return outputs


def layer(
    tokens: list[torch.Tensor], weights: Weights, name: str, heads: int, causal: bool
) -> list[torch.Tensor]:
    normed = [layer_norm(token, weights, f"{name}.ln_1") for token in tokens]
    mixed = attention(normed, weights, f"{name}.attn", heads, causal)
    tokens = [a + b for a, b in zip(tokens, mixed, strict=True)]
    result = []
    for token in tokens:
        inner = weights[f"{name}.mlp.c_fc.weight"] @ layer_norm(token, weights, f"{name}.ln_2")
        inner = inner + weights[f"{name}.mlp.c_fc.bias"]
        inner = inner / (1 + torch.exp(-1.702 * inner))
        result.append(
            token + weights[f"{name}.mlp.c_proj.weight"] @ inner + weights[f"{name}.mlp.c_proj.bias"]
        )
    return result


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / torch.sqrt((vector * vector).sum())


def text_embedding(
    ids: list[int], weights: Weights, depth: int, heads: int, prompts: torch.Tensor, suffix: int = 0
) -> torch.Tensor:
    """``ids`` of one text, padded as the model pads; ``prompts`` (depth, prefix + suffix, D)."""
    prefix = prompts.shape[1] - suffix
    words = [weights["token_embedding.weight"][i] for i in ids]
    sequence: list[torch.Tensor] = []
    for k in range(depth):
        front, back = list(prompts[k][:prefix]), list(prompts[k][prefix:])
        sequence = (
            [words[0], *front, *words[1:-1], *back, words[-1]] if suffix else [words[0], *front, *words[1:]]
        )
        if k == 0:
            sequence = [token + weights["positional_embedding"][i] for i, token in enumerate(sequence)]
        sequence = layer(sequence, weights, f"transformer.resblocks.{k}", heads, causal=True)
        behind = len(sequence) - 1 - suffix
        words = (
            [sequence[0], *sequence[1 + prefix : behind], sequence[-1]]
            if suffix
            else [sequence[0], *sequence[1 + prefix :]]
        )
    end = ids.index(max(ids)) + prefix + suffix
    return unit(layer_norm(sequence[end], weights, "ln_final") @ weights["text_projection"])


def embed_patches(frame: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """One frame (3, H, W), normalised -> its class token and patches, positions added."""
    kernel = weights["visual.conv1.weight"]
    size = kernel.shape[-1]
    grid = frame.shape[-1] // size
    positions = weights["visual.positional_embedding"]
    patches = []
    for row in range(grid):
        for column in range(grid):
            cut = frame[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            value = torch.stack([(kernel[d] * cut).sum() for d in range(len(kernel))])
            patches.append(value + positions[1 + row * grid + column])
    return weights["visual.class_embedding"] + positions[0], patches


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


def lstm(inputs: list[torch.Tensor], weights: Weights, name: str, ending: str) -> list[torch.Tensor]:
    width = len(inputs[0])
    hidden = cell = torch.zeros(width, dtype=inputs[0].dtype)
    outputs = []
    for x in inputs:
        gates = weights[f"{name}.weight_ih_l0{ending}"] @ x + weights[f"{name}.bias_ih_l0{ending}"]
        gates = (
            gates + weights[f"{name}.weight_hh_l0{ending}"] @ hidden + weights[f"{name}.bias_hh_l0{ending}"]
        )
        enter, forget, new, leave = (gates[i * width : (i + 1) * width] for i in range(4))
        cell = sigmoid(forget) * cell + sigmoid(enter) * torch.tanh(new)
        hidden = sigmoid(leave) * torch.tanh(cell)
        outputs.append(hidden)
    return outputs


def places(count: int, width: int) -> torch.Tensor:
    table = torch.zeros(count, width, dtype=torch.float64)
    for place in range(count):
        for i in range(width):
            angle = place / 10_000 ** (2 * (i // 2) / width)
            table[place, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


def encoder(inputs: list[torch.Tensor], weights: Weights, name: str) -> list[torch.Tensor]:
    """Pre-norm layers with one head and ReLU, over inputs that know their place."""
    tokens = [a + b for a, b in zip(inputs, places(len(inputs), len(inputs[0])), strict=True)]
    for number in range(4):
        own = f"{name}.{number}"
        normed = [layer_norm(token, weights, f"{own}.norm1") for token in tokens]
        mixed = attention(normed, weights, f"{own}.self_attn", heads=1, causal=False)
        tokens = [a + b for a, b in zip(tokens, mixed, strict=True)]
        for j, token in enumerate(tokens):
            inner = weights[f"{own}.linear1.weight"] @ layer_norm(token, weights, f"{own}.norm2")
            inner = (inner + weights[f"{own}.linear1.bias"]).clamp(min=0)
            tokens[j] = token + weights[f"{own}.linear2.weight"] @ inner + weights[f"{own}.linear2.bias"]
    return tokens


def read_frames(cls_tokens: list[torch.Tensor], weights: Weights) -> list[torch.Tensor]:
    """What the context module says of each frame; its tensors tell which of the three it is."""
    if "lstm.weight_ih_l0" not in weights:
        return encoder(cls_tokens, weights, "encoder.layers")
    forward = lstm(cls_tokens, weights, "lstm", "")
    if "lstm.weight_ih_l0_reverse" not in weights:
        return forward
    backward = lstm(cls_tokens[::-1], weights, "lstm", "_reverse")[::-1]
    return [torch.cat(both) for both in zip(forward, backward, strict=True)]


class VideoReference:
    """The vision side of VoP, P, C, F, P+F and C+F for one video of frames (F, 3, H, W)."""

    def __init__(self, weights: Weights, *, depth: int, heads: int, split: int | None) -> None:
        self.weights, self.depth, self.heads = weights, depth, heads
        self.split = depth if split is None else split
        self.layers = list(range(depth))  # that get prompts
        self.generic: torch.Tensor | None = None  # (layers, P, D)
        self.position: torch.Tensor | None = None  # (layers, F, P, D)
        self.context: Weights | None = None  # weight_ih_l0, ..., generate.weight, generate.bias
        self.joint: torch.Tensor | None = None  # (depth - split, P, D)
        self.frame_embedding: torch.Tensor | None = None  # (F, D)

    def frame_prompts(self, k: int, cls_tokens: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        if k not in self.layers:
            return [[] for _ in cls_tokens]
        row = self.layers.index(k)
        prompts = [list(self.generic[row]) for _ in cls_tokens]
        if self.position is not None:
            for j, own in enumerate(prompts):
                own.extend(self.position[row][j])
        if self.context is not None:
            for own, said in zip(prompts, read_frames(cls_tokens, self.context), strict=True):
                made = self.context["generate.weight"] @ said + self.context["generate.bias"]
                own.extend(made.reshape(-1, len(cls_tokens[0])))
        return prompts

    def frame_embeddings(self, video: torch.Tensor) -> list[torch.Tensor]:
        states = [embed_patches(frame, self.weights) for frame in video]
        for k in range(self.split):
            prompts = self.frame_prompts(k, [cls_token for cls_token, _ in states])
            after = []
            for (cls_token, patches), own in zip(states, prompts, strict=True):
                sequence = [cls_token, *own, *patches]
                if k == 0:
                    sequence = [layer_norm(token, self.weights, "visual.ln_pre") for token in sequence]
                sequence = layer(
                    sequence, self.weights, f"visual.transformer.resblocks.{k}", self.heads, causal=False
                )
                after.append((sequence[0], sequence[1 + len(own) :]))
            states = after
        if self.split < self.depth:
            states = self.joint_layers(states)
        normed = [layer_norm(cls_token, self.weights, "visual.ln_post") for cls_token, _ in states]
        return [unit(token @ self.weights["visual.proj"]) for token in normed]

    def joint_layers(
        self, states: list[tuple[torch.Tensor, list[torch.Tensor]]]
    ) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        frames, per_frame = len(states), len(states[0][1])
        cls_tokens = [cls_token + self.frame_embedding[j] for j, (cls_token, _) in enumerate(states)]
        patches = [patch + self.frame_embedding[j] for j, (_, own) in enumerate(states) for patch in own]
        for k in range(self.split, self.depth):
            deep = [own for own in self.layers if own >= self.split]
            prompts = list(self.joint[deep.index(k)]) if k in deep else []
            sequence = [*cls_tokens, *prompts, *patches]
            if k == 0:
                sequence = [layer_norm(token, self.weights, "visual.ln_pre") for token in sequence]
            sequence = layer(
                sequence, self.weights, f"visual.transformer.resblocks.{k}", self.heads, causal=False
            )
            cls_tokens, patches = sequence[:frames], sequence[frames + len(prompts) :]
        return [(cls_tokens[j], patches[j * per_frame : (j + 1) * per_frame]) for j in range(frames)]
