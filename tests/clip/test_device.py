"""Automatic choice of device and precision."""

import contextlib
from pathlib import Path

import pytest
import torch

from vopcli.clip.device import choose_device, choose_precision, has_fast_bf16
from vopcli.config.choices import Precision


def test_automatic_choices() -> None:
    device = choose_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else device.type)
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    expected = Precision.BF16 if has_fast_bf16(cpuinfo) else Precision.FP32
    assert choose_precision("auto", torch.device("cpu")) is expected
    assert choose_precision(Precision.FP16, torch.device("cpu")) is Precision.FP16


@pytest.mark.parametrize(("capability", "expected"), [(7, Precision.FP16), (8, Precision.BF16)])
def test_a_gpu_that_only_imitates_bfloat16_gets_float16(
    capability: int, expected: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return capability >= 8 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    assert choose_precision("auto", torch.device("cuda:0")) is expected


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("GenuineIntel", "avx2 avx512f", False),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_bfloat16_is_taken_where_it_was_measured_to_be_faster(
    vendor: str, flags: str, *, expected: bool
) -> None:
    assert has_fast_bf16(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags} sse\n") is expected


def test_no_bfloat16_where_the_processor_is_not_known() -> None:
    assert not has_fast_bf16("")
