"""Small CLIP weights, and files of them in every format, written by the libraries that define the formats."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation

# No two sizes alike, and more than one head: a swap of axes or towers cannot hide.
TINY = ClipShape(
    embed_dim=40,
    image_resolution=24,
    patch_size=8,
    vision_layers=2,
    vision_width=192,
    vision_heads=3,
    context_length=11,
    vocab_size=30,
    text_layers=1,
    text_width=128,
    text_heads=2,
    activation=Activation.QUICK_GELU,
)
HALF_PARTS = ("attn.", "mlp.", "conv1.", "visual.proj", "text_projection")


def make_tensors(shape: ClipShape = TINY, *, seed: int = 0, openai_mix: bool = False) -> dict[str, Tensor]:
    """Random tensors by OpenAI's names; ``openai_mix`` stores as fp16 what OpenAI does."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(size, generator=generator) for name, size in shape.tensor_shapes().items()}
    if openai_mix:
        return {
            name: tensor.half() if any(part in name for part in HALF_PARTS) else tensor
            for name, tensor in tensors.items()
        }
    return tensors


class _Node(nn.Module):
    """A module tree without a function, for torch.jit to save."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


def write_torchscript(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Save an archive as OpenAI's are, its three numbers included; return what PyTorch reads of it."""
    root = _Node()
    numbers = {"input_resolution": 24, "context_length": 11, "vocab_size": 30}
    for name, tensor in [*tensors.items(), *((name, torch.tensor(value)) for name, value in numbers.items())]:
        *parents, leaf = name.split(".")
        node = root
        for part in parents:
            if part not in dict(node.named_children()):
                node.add_module(part, _Node())
            node = node.get_submodule(part)  # type: ignore[assignment]
        if tensor.is_floating_point():
            node.register_parameter(leaf, nn.Parameter(tensor.clone()))
        else:
            node.register_buffer(leaf, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; OpenAI's files are made with it
        torch.jit.save(torch.jit.script(root), str(path))
        return dict(torch.jit.load(str(path)).state_dict())


def write_hugging_face(folder: Path, shape: ClipShape = TINY, **save: object) -> dict[str, Tensor]:
    """Save a random CLIPModel of transformers; return its tensors under its own names."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    config = CLIPConfig(
        projection_dim=shape.embed_dim,
        text_config={
            "hidden_size": shape.text_width,
            "intermediate_size": 4 * shape.text_width,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_heads,
            "max_position_embeddings": shape.context_length,
            "vocab_size": shape.vocab_size,
            "hidden_act": shape.activation.value,
            "eos_token_id": shape.vocab_size - 1,
            "bos_token_id": shape.vocab_size - 2,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": shape.vision_width,
            "intermediate_size": 4 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_heads,
            "image_size": shape.image_resolution,
            "patch_size": shape.patch_size,
            "hidden_act": shape.activation.value,
        },
    )
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(folder, **save)
    return dict(model.state_dict())


def write_open_clip(
    folder: Path, tensors: dict[str, Tensor], *, quick_gelu: bool, pickled: bool = False
) -> None:
    """Save a folder as open_clip's are."""
    folder.mkdir(exist_ok=True)
    model = {
        "embed_dim": TINY.embed_dim,
        "vision_cfg": {
            "image_size": TINY.image_resolution,
            "layers": TINY.vision_layers,
            "width": TINY.vision_width,
            "patch_size": TINY.patch_size,
        },
        "text_cfg": {
            "context_length": TINY.context_length,
            "vocab_size": TINY.vocab_size,
            "width": TINY.text_width,
            "heads": TINY.text_heads,
            "layers": TINY.text_layers,
        },
    }
    if quick_gelu:
        model["quick_gelu"] = True
    pixels = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    config = {"model_cfg": model, "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(tensors, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def as_numpy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The same tensors as arrays, bf16 as fp32."""
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }
