"""Choice of the device and the precision that a model runs with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import torch

from vopcli.config.choices import Precision
from vopcli.errors import UsageError, format_value

BATCH_FRAMES: Final = {"cpu": 96, "cuda": 512, "mps": 128}  # by device type, before memory runs out
DTYPES: Final = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}
_LOG: Final = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; ``auto`` is the fastest one of this machine.

    Raises:
        UsageError: the device is unknown, or this machine does not have it.
    """
    name = name.lower()
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind, _, number = name.partition(":")
    if kind not in BATCH_FRAMES or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"unknown device {format_value(name)}", hint="use auto, cpu, cuda, cuda:N or mps")
    num_devices = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}[kind]
    if int(number or 0) >= num_devices:
        raise UsageError(f"this machine has no device {format_value(name)}", hint="use --device auto or cpu")
    return torch.device(name)


def choose_precision(name: str | Precision, device: torch.device) -> Precision:
    """Return the precision to compute in; ``auto`` is the fastest one that keeps the ranking.

    Raises:
        UsageError: the precision is unknown.
    """
    try:
        precision = Precision(name)
    except ValueError:
        known = ", ".join(item.value for item in Precision)
        raise UsageError(f"unknown precision {format_value(name)}", hint=f"use one of {known}") from None
    if precision is Precision.AUTO:
        precision = _fastest_precision(device)
    _LOG.debug("device: %s, precision: %s, threads: %d", device, precision.value, torch.get_num_threads())
    return precision


def _fastest_precision(device: torch.device) -> Precision:
    if device.type == "cuda":
        with torch.cuda.device(device):
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
            return Precision.BF16 if is_native else Precision.FP16
    if device.type == "mps":
        return Precision.FP16
    return Precision.BF16 if has_fast_bf16(_cpuinfo()) else Precision.FP32


def has_fast_bf16(cpuinfo: str) -> bool:
    """Whether bfloat16 is faster than float32 on a CPU, given the text of its /proc/cpuinfo.

    It is with AMX, and on AMD with AVX512-bf16. Intel CPUs with AVX512-bf16 alone measured slower.
    """
    is_amd = "AuthenticAMD" in cpuinfo
    return "amx_bf16" in cpuinfo or (is_amd and "avx512_bf16" in cpuinfo)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
