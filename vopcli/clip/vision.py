"""The vision tower, a transformer over the patches of an image (CLIP, section 2.4), and its input.

Axes: N images, L tokens with the class token first, D tower width, E joint width, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vopcli.clip.attention_pool import AttentionPool
from vopcli.clip.rotary import patch_rotations
from vopcli.clip.shape import ClipShape, Preprocessing
from vopcli.clip.transformer import LayerHook, LayerNorm, Transformer


def normalise(
    frames: Tensor,
    preprocessing: Preprocessing,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Normalise RGB frames for the vision tower.

    Args:
        frames: (..., H, W, 3) uint8.
        preprocessing: of the model, with the mean and standard deviation of its training images.
        dtype: dtype of the result.
        device: device of the result; None: that of ``frames``.

    Returns:
        (..., 3, H, W) of mean 0 and standard deviation 1 over the training images.

    Raises:
        ValueError: ``frames`` are not uint8, or their last axis is not 3.
    """
    if frames.dtype != torch.uint8 or frames.shape[-1] != 3:
        raise ValueError(f"need uint8 frames (..., H, W, 3), got {frames.dtype} {tuple(frames.shape)}")
    on_device = frames.to(device) if device is not None else frames  # as bytes: a quarter of the transfer
    mean = torch.tensor(preprocessing.mean, device=on_device.device) * 255
    scale = 1 / (torch.tensor(preprocessing.std, device=on_device.device) * 255)
    pixels = on_device.to(torch.float32).sub_(mean).mul_(scale)
    return pixels.to(dtype).movedim(-1, -3)  # (..., 3, H, W)


class VisionTransformer(nn.Module):
    """The vision tower; the embedding of an image is read at its class token, or pooled from all tokens."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width, patch_size = shape.vision_width, shape.patch_size
        self.image_resolution = shape.image_resolution
        self.grid = shape.image_resolution // patch_size
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(self.grid**2 + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(
            width=width,
            layers=shape.vision_layers,
            heads=shape.vision_heads,
            is_causal=False,
            activation=shape.activation,
        )
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, shape.embed_dim))
        self.head_width = width // shape.vision_heads
        self.attn_pool = AttentionPool(width, shape.activation) if shape.is_perception else None
        if shape.is_perception:
            self.proj_bias = nn.Parameter(torch.zeros(shape.embed_dim))
        for parameter in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, pixels: Tensor, hook: LayerHook | None = None) -> Tensor:
        """Map normalised images (N, 3, H, W) to unnormalised embeddings (N, E).

        Raises:
            ValueError: the images are not of the model's resolution.
        """
        side = self.image_resolution
        if pixels.shape[1:] != (3, side, side):
            raise ValueError(f"need images (N, 3, {side}, {side}), got {tuple(pixels.shape)}")
        patches = self._embed_patches(pixels)  # (N, L-1, D)
        cls_token = self.class_embedding.expand(len(patches), 1, -1)  # (N, 1, D)
        tokens = torch.cat([cls_token, patches], dim=1) + self.positional_embedding  # (N, L, D)
        if hook is not None:
            tokens = hook.before(0, tokens)
        if self.attn_pool is None:
            tokens = self.transformer(self.ln_pre(tokens), hook, num_read=1)
            return self.ln_post(tokens[:, 0]) @ self.proj  # (N, E)
        rotations = patch_rotations(self.grid, self.head_width, tokens.device)
        tokens = self.transformer(self.ln_pre(tokens), hook, rotations=rotations)
        return self.attn_pool(self.ln_post(tokens)) @ self.proj + self.proj_bias  # (N, E)

    def _embed_patches(self, pixels: Tensor) -> Tensor:
        """Map the patches of (N, 3, H, W) to (N, L - 1, D): conv1 as one matrix product."""
        side = self.image_resolution
        weight = self.conv1.weight.flatten(1)  # (D, 3 * patch * patch)
        patch_size = side // self.grid
        cut = pixels.to(weight.dtype).reshape(-1, 3, self.grid, patch_size, self.grid, patch_size)
        flat = cut.permute(0, 2, 4, 1, 3, 5).reshape(
            -1, self.grid**2, weight.shape[1]
        )  # (N, L-1, 3 * patch^2)
        return functional.linear(flat, weight)
