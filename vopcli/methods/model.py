"""CLIP for videos, with the prompts or adapters of a variant (VoP, section 3.1).

Axes: B videos, F frames, N texts, L tokens, E joint width.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vopcli.clip.model import Clip
from vopcli.clip.transformer import LayerHook, SelfAttention
from vopcli.config.schema import TuningConfig
from vopcli.methods.text_prompts import TextPrompts
from vopcli.methods.variants import PART_NAMES, build_parts

# Videos of a forward pass on a CPU. More do not fit its caches, and their tensors are so large that each is
# allocated from the system and given back: a training step of 32 videos took 1.5 times as long.
CPU_VIDEOS: Final = 4


class VideoTextModel(nn.Module):
    """Maps videos and texts to a joint space, in which their cosine is their similarity.

    Without ``tuning`` it is plain CLIP (the variant zero-shot) and takes any number of frames.

    Attributes:
        clip: the backbone; ``requires_grad`` is set on the parameters that the variant trains.
        num_frames: number of frames of a video; None: any.
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
        """Number of positions of the text context that prompts take."""
        return self.text_prompts.num_prompts if isinstance(self.text_prompts, TextPrompts) else 0

    @property
    def num_trained(self) -> int:
        """Trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, start and end included."""
        return self.clip.shape.context_length - self.num_text_prompts

    def merge_changes(self) -> None:
        """Add low-rank changes to the matrices of the backbone, which then take no longer than before."""
        for module in self.clip.modules():
            if isinstance(module, SelfAttention):
                module.merge_changes()

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Map normalised frames (B, F, 3, H, W) to L2-normalised float32 embeddings (B, F, E).

        Raises:
            ValueError: the videos have another number of frames than the model was tuned for.
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
            # suffix prompts stand before the last position, so padding matters
            tokens = functional.pad(tokens, (0, self.max_tokens - tokens.shape[1]))
        return functional.normalize(self.clip.encode_text(tokens, self._text_hook).float(), dim=-1)


def pool_frames(embedded: Tensor) -> Tensor:
    """Map frame embeddings (B, F, E) to video embeddings (B, E): their mean, L2-normalised."""
    return functional.normalize(embedded.mean(dim=1), dim=-1)


def trained_tensors(model: VideoTextModel) -> dict[str, Tensor]:
    """Return CPU copies of the trained parameters, by their names in an adapter file."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_trained(model: VideoTextModel, tensors: dict[str, Tensor]) -> None:
    """Load tensors of `trained_tensors` into a model.

    Raises:
        ValueError: names or shapes differ from the parameters that the variant trains.
    """
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    if {name: item.shape for name, item in parameters.items()} != {k: v.shape for k, v in tensors.items()}:
        raise ValueError("the tensors are not those that the variant trains")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
