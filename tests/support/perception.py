"""Perception Encoders for tests: open_clip's models with an image tower of any size, and files of them."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from torch import nn

from tests.support.peers import open_clip_text
from vopcli.clip.shape import PERCEPTION_PREPROCESSING, ClipShape
from vopcli.config.choices import Activation

# Three heads of 64 channels, which files do not name; a 5 x 5 grid; no two sizes alike.
SMALL = ClipShape(
    embed_dim=40,
    image_resolution=35,
    patch_size=7,
    vision_layers=3,
    vision_width=192,
    vision_heads=3,
    context_length=17,
    vocab_size=31,
    text_layers=2,
    text_width=128,
    text_heads=2,
    activation=Activation.GELU,
    preprocessing=PERCEPTION_PREPROCESSING,
    is_perception=True,
)
B16 = ClipShape(
    *(1024, 224, 16, 12, 768, 12, 32, 49408, 24, 1024, 16, Activation.GELU, PERCEPTION_PREPROCESSING, True)
)


def open_clip_perception(shape: ClipShape) -> CustomTextCLIP:
    """open_clip's model of these sizes with timm's image tower, float32; every tensor is random."""
    tower = "vit_pe_core_base_patch16_224" if shape == B16 else "vit_pe_core_tiny_patch16_384"
    model = CustomTextCLIP(
        shape.embed_dim,
        vision_cfg={
            "image_size": shape.image_resolution,
            "timm_model_name": tower,
            "timm_pool": "map",
            "timm_proj": None,
        },
        text_cfg=open_clip_text(shape),
    )
    if shape != B16:
        grid = shape.image_resolution // shape.patch_size
        model.visual.trunk = timm.create_model(
            tower,
            img_size=shape.image_resolution,
            patch_size=shape.patch_size,
            embed_dim=shape.vision_width,
            depth=shape.vision_layers,
            num_heads=shape.vision_heads,
            num_classes=shape.embed_dim,
            ref_feat_shape=(grid, grid),
        )
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * _spread(module, name) + _centre(module, name))
    return model.eval().requires_grad_(False)


def _spread(module: nn.Module, name: str) -> float:
    """A scale at which every tensor counts and no layer drowns another."""
    if isinstance(module, nn.LayerNorm) or name.endswith("bias"):
        return 0.1
    if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
        return float(getattr(module, name)[0].numel()) ** -0.5
    return float(len(getattr(module, name))) ** -0.5 if name == "text_projection" else 0.3


def _centre(module: nn.Module, name: str) -> float:
    return 1.0 if isinstance(module, nn.LayerNorm) and name == "weight" else 0.0


def write_open_clip(path: Path, model: CustomTextCLIP) -> Path:
    """Save the state of open_clip's model as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path
