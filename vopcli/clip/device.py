"""The model as the Python interface gives it: weights, device and precision chosen, arrays in and out.

Axes: N videos or texts, F frames, E joint width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from vopcli.config.choices import Precision
from vopcli.errors import UsageError

BATCH_FRAMES: Final = {"cpu": 96, "cuda": 512, "mps": 128}
DTYPES: Final = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}


def choose_device(name: str) -> torch.device:
    """Return the device that a user's word means; ``auto`` is the fastest there is.

    Raises:
        UsageError: not known, or not on this machine.
    """
    name = name.lower()
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind, _, number = name.partition(":")
    if kind not in BATCH_FRAMES or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"unknown device {name!r}", hint="known are auto, cpu, cuda, cuda:N and mps")
    num_there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}[kind]
    if int(number or 0) >= num_there:
        raise UsageError(f"there is no device {name!r} on this machine", hint="use --device auto or cpu")
    return torch.device(name)


def choose_precision(name: str | Precision, device: torch.device) -> Precision:
    """Return the number format to compute in; ``auto`` is the fastest that keeps the ranking.

    Raises:
        UsageError: not known.
    """
    try:
        precision = Precision(name)
    except ValueError:
        known = ", ".join(item.value for item in Precision)
        raise UsageError(f"unknown precision {str(name)!r}", hint=f"known are {known}") from None
    if precision is not Precision.AUTO:
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            is_good = torch.cuda.is_bf16_supported(including_emulation=False)
            return Precision.BF16 if is_good else Precision.FP16
    if device.type == "mps":
        return Precision.FP16
    return Precision.BF16 if has_fast_bf16(_cpuinfo()) else Precision.FP32


def has_fast_bf16(cpuinfo: str) -> bool:
    """Whether bfloat16 is the faster format on the processor that a text in the form of /proc/cpuinfo names.

    It is with AMX, and with AVX512-bf16 on AMD's; with AVX512-bf16 alone Intel's were slower than in float32.
    """
    is_amd = "AuthenticAMD" in cpuinfo
    return "amx_bf16" in cpuinfo or (is_amd and "avx512_bf16" in cpuinfo)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
