"""What ``vop.yaml`` may say: the only place that names a setting, its default, its help and its check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

DEFAULT_WEIGHTS: Final = "ViT-B/32"
DEFAULT_NUM_FRAMES: Final = 12
DEFAULT_SIZE_PX: Final = 224


def setting(default: Any, *, text: str, low: float | None = None, high: float | None = None) -> Any:
    """Declare a setting: its default, its help ``text``, and the inclusive range of a number."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class BackboneConfig:
    """The frozen CLIP model."""

    weights: str = setting(DEFAULT_WEIGHTS, text="CLIP weights: a name of `vop weights list`, or a file")


@dataclass(frozen=True)
class DataConfig:
    """Videos, their frames and their captions."""

    frames: str | None = setting(None, text="frame store made by `vop extract-frames`")
    captions: str | None = setting(
        None, text="captions of the videos: JSON Lines, or CSV with the same columns"
    )
    sampling: str | None = setting(None, text="which frames are kept: uniform, or fps:N for N a second")
    num_frames: int | None = setting(None, text="frames of a video", low=1, high=4096)
    size: int | None = setting(None, text="side of the square frames, in pixels", low=16, high=2048)


@dataclass(frozen=True)
class SearchConfig:
    """Searching."""

    index: str | None = setting(None, text="index made by `vop encode`")


@dataclass(frozen=True)
class Config:
    """All settings, a section each."""

    backbone: BackboneConfig = BackboneConfig()
    data: DataConfig = DataConfig()
    search: SearchConfig = SearchConfig()
