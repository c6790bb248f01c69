"""A small model of each tuning method, and inputs for it."""

import dataclasses

import torch
from torch import nn

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods.model import VideoTextModel

B32 = ClipShape(512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8, Activation.QUICK_GELU)
L14 = ClipShape(768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12, Activation.QUICK_GELU)
# odd sizes, so that no two axes can be taken for each other: 3 heads of 4, 9 patches, 5 frames, 4 layers
SHAPE = ClipShape(
    embed_dim=10,
    image_resolution=15,
    patch_size=5,
    vision_layers=4,
    vision_width=12,
    vision_heads=3,
    context_length=19,
    vocab_size=31,
    text_layers=3,
    text_width=8,
    text_heads=2,
    activation=Activation.QUICK_GELU,
)
FRAMES, VIDEOS = 5, 2
TUNING = TuningConfig(prompt_length=3, specific_length=2, split_layer=2)
JOINT = {Variant.F, Variant.P_F, Variant.C_F}
PROMPTED = [Variant.VOP, Variant.P, Variant.C, Variant.F, Variant.P_F, Variant.C_F, Variant.LORA_P]


def build(variant: Variant, **changes: object) -> VideoTextModel:
    torch.manual_seed(3)
    tuning = dataclasses.replace(TUNING, variant=variant, **changes)
    model = VideoTextModel(Clip(SHAPE), tuning, num_frames=FRAMES).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # nothing small, nothing zero: a part left out must be seen
    return model


def fresh(variant: Variant, **changes: object) -> VideoTextModel:
    torch.manual_seed(3)
    tuning = dataclasses.replace(TUNING, variant=variant, **changes)
    return VideoTextModel(Clip(SHAPE), tuning, num_frames=FRAMES).eval()


def videos(num: int = 2) -> torch.Tensor:
    side = SHAPE.image_resolution
    return torch.randn(num, FRAMES, 3, side, side, generator=torch.Generator().manual_seed(5))


def texts() -> torch.Tensor:
    return torch.tensor([[29, 3, 4, 5, 30, 0], [29, 7, 30, 0, 0, 0]])


def num_trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count(shape: ClipShape, variant: Variant, **changes: object) -> int:
    with torch.device("meta"):
        return num_trained(
            VideoTextModel(Clip(shape), TuningConfig(variant=variant, **changes), num_frames=12)
        )
