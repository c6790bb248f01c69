"""Read a state dict written by torch.save; anything but tensors is refused and no code is run."""

from __future__ import annotations

import pickle  # only for the name of its error
import re
import tarfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import NDArray

from vopcli.errors import WeightsError, format_name
from vopcli.weights.torchscript import FAULTS, DamageError

if TYPE_CHECKING:
    from torch import Tensor


def read_pickled(path: Path, *, is_zip: bool) -> dict[str, NDArray[Any]]:
    """Return the tensors by name; a surrounding "state_dict" and the prefix "module." are removed.

    Args:
        path: the file.
        is_zip: whether it is in PyTorch's zip format, which is memory-mapped.

    Raises:
        WeightsError: `path` is damaged, contains anything but tensors, or is not PyTorch's.
        OSError: `path` cannot be read.
    """
    import torch

    if not is_zip and tarfile.is_tarfile(path):  # torch.load before 2.6 could run code from a tar file
        raise WeightsError(f"{path} is a tar archive, not weights", hint="give the path of the weights file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)  # noqa: TID251
    except FAULTS as error:
        _refuse(path, error)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"{path} does not contain a dictionary of tensors", hint="give a file with a model's state dict"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise WeightsError(
            f"{path} contains {len(others)} entries that are not tensors: "
            f"{', '.join(map(format_name, others[:3]))}",
            hint="give a file with a model's state dict, or with one under 'state_dict'",
        )
    try:
        return {name: _as_array(name, tensor) for name, tensor in state.items()}
    except FAULTS as error:
        _refuse(path, error)


def _as_array(name: str, tensor: Tensor) -> NDArray[Any]:
    import torch

    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise DamageError(f"{format_name(name)} is not a dense CPU tensor")
    tensor = tensor.detach()
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise DamageError(f"{format_name(name)} is larger than its storage")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy()


def _refuse(path: Path, error: BaseException) -> NoReturn:
    if isinstance(error, pickle.UnpicklingError) and (found := re.search(r"GLOBAL ([\w.]+)", str(error))):
        raise WeightsError(
            f"{path} contains Python objects ({format_name(found[1])}), which could run code: refused",
            hint="give a file with the model's state dict only",
        ) from error
    reason = str(error) if isinstance(error, DamageError) else "it is damaged, or contains more than tensors"
    raise WeightsError(
        f"{path} cannot be read as PyTorch weights: {reason}",
        hint="download it again from a trusted source; it may be incomplete",
    ) from error
