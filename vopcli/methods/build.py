"""Build the model of a variant, to train it or to use a trained adapter."""

from __future__ import annotations

import torch

from vopcli.clip.transformer import LayerNorm
from vopcli.config.schema import TuningConfig
from vopcli.errors import WeightsError
from vopcli.methods.adapter_file import Adapter, check_backbone
from vopcli.methods.model import VideoTextModel, load_trained
from vopcli.weights.build import build_clip
from vopcli.weights.reader import Weights


def build_tuned(
    weights: Weights, tuning: TuningConfig, *, num_frames: int, device: torch.device, dtype: torch.dtype
) -> VideoTextModel:
    """Build a model for training: trained parameters in float32, frozen ones in ``dtype``."""
    clip = build_clip(weights, device="cpu", dtype=torch.float32)
    model = VideoTextModel(clip, tuning, num_frames=num_frames)
    cast_frozen(model, dtype)
    return model.to(device)


def cast_frozen(model: VideoTextModel, dtype: torch.dtype) -> None:
    """Cast the frozen parameters to ``dtype``.

    With float16 the norms stay float32, as in OpenAI's models. So does a norm whose bias alone is trained, as
    its weight and bias must have the same dtype.
    """
    for module in model.clip.modules():
        is_trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if isinstance(module, LayerNorm) and (dtype == torch.float16 or is_trained):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad and name != "logit_scale":
                parameter.data = parameter.data.to(dtype)


def load_tuned(
    weights: Weights, fingerprint: str, adapter: Adapter, *, device: torch.device, dtype: torch.dtype
) -> VideoTextModel:
    """Build a frozen model with the tensors of ``adapter``, for inference.

    Raises:
        WeightsError: the adapter was trained on another backbone, or its tensors do not fit it.
    """
    check_backbone(adapter, fingerprint, weights.name)
    model = build_tuned(
        weights,
        adapter.tuning,
        num_frames=adapter.num_frames,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    try:
        load_trained(model, {name: torch.from_numpy(tensor) for name, tensor in adapter.tensors.items()})
    except ValueError as error:
        raise WeightsError(
            f"{adapter.source} does not fit {weights.name}: {error}", hint="train it again"
        ) from error
    model.merge_changes()
    model.requires_grad_(requires_grad=False)
    cast_frozen(model, dtype)
    return model.to(device).eval()
