"""Read a plain state dict that torch.save wrote: tensors only, whatever else the file says is refused."""

from __future__ import annotations

import pickle  # only for the name of its error
import re
import tarfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import NDArray

from vopcli.errors import WeightsError
from vopcli.weights.torchscript import FAULTS, DamageError

if TYPE_CHECKING:
    from torch import Tensor


def read_pickled(path: Path, *, is_zip: bool) -> dict[str, NDArray[Any]]:
    """Return every tensor by name; "state_dict" around them and a leading "module." are looked through.

    Args:
        path: the file.
        is_zip: whether it has PyTorch's zip format, whose numbers stay on disk until they are used.

    Raises:
        WeightsError: the file is damaged, holds anything but tensors, or is none of PyTorch's.
        OSError: the file cannot be read.
    """
    import torch

    if not is_zip and tarfile.is_tarfile(path):  # before 2.6 torch.load could be made to run code by one
        raise WeightsError(f"{path} is a tar archive, not weights", hint="give the weights file itself")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)  # noqa: TID251
    except FAULTS as error:
        _refuse(path, error)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"{path} holds no dictionary of tensors", hint="give a file that holds a model's state dict"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    strangers = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise WeightsError(
            f"{path} holds {len(strangers)} entries that are no tensors: {', '.join(strangers[:3])[:200]}",
            hint="give a file that holds a model's state dict, or one with it under 'state_dict'",
        )
    try:
        return {name: _as_array(name, tensor) for name, tensor in state.items()}
    except FAULTS as error:
        _refuse(path, error)


def _as_array(name: str, tensor: Tensor) -> NDArray[Any]:
    import torch

    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise DamageError(f"{name[:120]} is no plain tensor")
    tensor = tensor.detach()
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise DamageError(f"{name[:120]} is larger than what is stored of it")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy()


def _refuse(path: Path, error: BaseException) -> NoReturn:
    if isinstance(error, pickle.UnpicklingError) and (found := re.search(r"GLOBAL ([\w.]+)", str(error))):
        raise WeightsError(
            f"{path} holds Python objects ({found[1][:100]}), which could run code: refused",
            hint="give a file that holds only the model's state dict",
        ) from error
    reason = str(error) if isinstance(error, DamageError) else "it is damaged, or holds more than tensors"
    raise WeightsError(
        f"{path} cannot be read as PyTorch weights: {reason}",
        hint="download it again, and only from where you trust; it may be cut off or not be weights",
    ) from error
