"""The closed lists of names a user may write; standard library only, so that help can show them at once."""

from __future__ import annotations

from enum import Enum


class Activation(str, Enum):
    """The activation function inside the two towers' feed-forward networks."""

    QUICK_GELU = "quick_gelu"
    GELU = "gelu"


class Precision(str, Enum):
    """The number format the model computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
