"""The whole CLIP model, and how it is built from weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vopcli.clip.shape import ClipShape
from vopcli.clip.text import TextTransformer
from vopcli.clip.transformer import LayerHook
from vopcli.clip.vision import VisionTransformer

if TYPE_CHECKING:
    pass


class Clip(TextTransformer):
    """Both towers and the scale of their similarity, with OpenAI's tensor names.

    OpenAI keeps the vision tower under ``visual``, the text tower at the root: so this is a text tower, with
    a vision tower in it. An odd "is a", but any other way would rename tensors on each load and save.
    """

    def __init__(self, shape: ClipShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.visual = VisionTransformer(shape)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: Tensor, hook: LayerHook | None = None) -> Tensor:
        """Map normalised images (N, 3, H, W) to embeddings (N, E), not normalised."""
        return self.visual(pixels, hook)
