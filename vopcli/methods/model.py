"""CLIP for videos: videos and texts in one space, with what a variant adds in place (VoP, section 3.1).

Axes: B videos, F frames, N texts, L tokens, E joint width.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vopcli.clip.model import Clip
from vopcli.clip.transformer import LayerHook
from vopcli.config.schema import TuningConfig
from vopcli.methods.text_prompts import TextPrompts
from vopcli.methods.variants import PART_NAMES, build_parts

# Videos that a processor computes at a time. More leave its caches, and their tensors are so large that the
# system gives and takes back the memory of each: a training step of 32 videos takes half as long again.
CPU_VIDEOS: Final = 4


class VideoTextModel(nn.Module):
    """Videos and texts in one space, where the cosine says how well they go together.

    Without ``tuning`` it is CLIP as it comes (the variant zero-shot) and takes any number of frames.

    Attributes:
        clip: the backbone; only what the variant trains of it has ``requires_grad``.
        num_frames: frames a video must have, None for any.
    """

    def __init__(
        self, clip: Clip, tuning: TuningConfig | None = None, *, num_frames: int | None = None
    ) -> None:
        super().__init__()
        self.clip = clip
        self.tuning = tuning
        self.num_frames = num_frames
        parts = build_parts(tuning, clip, num_frames=num_frames or 0) if tuning else {}
        for name in PART_NAMES:
            self.register_module(name, parts.get(name))
        self._text_hook = cast("LayerHook | None", parts.get("text_prompts"))
        self._vision_hook = cast("LayerHook | None", parts.get("vision_prompts"))

    @property
    def num_text_prompts(self) -> int:
        """Places of the text tower's context that prompts take."""
        return self.text_prompts.num_prompts if isinstance(self.text_prompts, TextPrompts) else 0

    @property
    def max_tokens(self) -> int:
        """The longest a text may be, start and end included."""
        return self.clip.shape.context_length - self.num_text_prompts

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Map normalised frames (B, F, 3, H, W) to L2-normalised float32 embeddings (B, F, E).

        Raises:
            ValueError: the videos have another number of frames than the prompts were made for.
        """
        batch, frames = pixels.shape[:2]
        if self.num_frames is not None and frames != self.num_frames:
            raise ValueError(f"videos have {frames} frames, the model was tuned for {self.num_frames}")
        parts = pixels.split(CPU_VIDEOS if pixels.device.type == "cpu" else max(1, batch))
        embedded = [self.clip.encode_image(part.flatten(0, 1), self._vision_hook) for part in parts]
        return functional.normalize(torch.cat(embedded).float(), dim=-1).view(batch, frames, -1)

    def encode_video(self, pixels: Tensor) -> Tensor:
        """Map normalised frames (B, F, 3, H, W) to L2-normalised float32 embeddings (B, E)."""
        return pool_frames(self.encode_frames(pixels))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map token ids (N, L) to L2-normalised float32 embeddings (N, E)."""
        if isinstance(self.text_prompts, TextPrompts) and self.text_prompts.suffix:
            # prompts before the very last position: how far a text is padded makes a difference
            tokens = functional.pad(tokens, (0, self.max_tokens - tokens.shape[1]))
        return functional.normalize(self.clip.encode_text(tokens, self._text_hook).float(), dim=-1)


def pool_frames(embedded: Tensor) -> Tensor:
    """Map a video's frame embeddings (B, F, E) to its own (B, E): their mean, L2-normalised again."""
    return functional.normalize(embedded.mean(dim=1), dim=-1)


def trained_tensors(model: VideoTextModel) -> dict[str, Tensor]:
    """Return copies on the CPU of what the variant trains, by the name it has in an adapter file."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_trained(model: VideoTextModel, tensors: dict[str, Tensor]) -> None:
    """Put ``tensors`` back where :func:`trained_tensors` took them from.

    Raises:
        ValueError: they are not exactly what the variant trains.
    """
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    if {name: item.shape for name, item in parameters.items()} != {k: v.shape for k, v in tensors.items()}:
        raise ValueError("the tensors are not those that the variant trains")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
