"""Build a CLIP model from weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vopcli.clip.model import Clip
from vopcli.clip.transformer import LayerNorm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vopcli.weights.reader import Weights


class _WithoutInit(TorchFunctionMode):
    """Skip the functions of `torch.nn.init`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Create the tensors of new modules without memory and values.

    Initialising them would load torch's compiler, which takes seconds.
    """
    with torch.device("meta"), _WithoutInit():
        yield


def build_clip(weights: Weights, *, device: torch.device | str, dtype: torch.dtype) -> Clip:
    """Build a frozen model for inference; the arrays of ``weights`` are copied once and never written to.

    LayerNorms stay in float32 in a float16 model, as in OpenAI's; the logit scale always does.

    Args:
        weights: tensors by OpenAI's names.
        device: device of the model.
        dtype: float32, bfloat16 or float16.

    Raises:
        RuntimeError: the tensors are not exactly those of ``weights.shape``.
    """
    with shapes_only():  # the weights replace every tensor
        clip = Clip(weights.shape)
    wide = {"logit_scale"}
    if dtype == torch.float16:
        norms = [name for name, module in clip.named_modules() if isinstance(module, LayerNorm)]
        wide |= {f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
    state = {
        name: _copy(array).to(device, torch.float32 if name in wide else dtype)
        for name, array in weights.tensors.items()
    }
    clip.load_state_dict(state, strict=True, assign=True)
    return clip.requires_grad_(requires_grad=False).eval()


def _copy(array: NDArray[Any]) -> Tensor:
    """Copy an array, which may be a read-only memory map, to a new float32 tensor."""
    tensor = torch.empty(array.shape, dtype=torch.float32)
    tensor.numpy()[...] = array
    return tensor
