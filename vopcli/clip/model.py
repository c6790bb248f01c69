"""The whole CLIP model: both towers (CLIP, section 2.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vopcli.clip.shape import ClipShape
from vopcli.clip.text import TextTransformer
from vopcli.clip.transformer import LayerHook
from vopcli.clip.vision import VisionTransformer


class Clip(TextTransformer):
    """CLIP: vision tower, text tower and logit scale, with OpenAI's tensor names.

    OpenAI keeps the vision tower under ``visual`` and the text tower at the root. Inheriting from the text
    tower keeps these names, so that tensors are not renamed on each load and save.
    """

    def __init__(self, shape: ClipShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.visual = VisionTransformer(shape)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: Tensor, hook: LayerHook | None = None) -> Tensor:
        """Map normalised images (N, 3, H, W) to unnormalised embeddings (N, E)."""
        return self.visual(pixels, hook)
