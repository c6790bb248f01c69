"""Request and summary of an encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vopcli.config.schema import Config, DataConfig
from vopcli.files.hdf5 import is_hdf5

if TYPE_CHECKING:
    from vopcli.video.estimate import Estimate
    from vopcli.video.pool import Workers


@dataclass(frozen=True)
class EncodeRequest:
    """The videos to encode, and the index to write.

    Attributes:
        sources: one frame store; or folders, videos, and lists of videos.
        index: the index to create or extend.
        config: the backbone, how it encodes, and how videos are sampled; None: like those of the index.
        adapter: adapter file or run folder; None: the plain backbone.
        prune: remove videos that are no longer in the sources.
        overwrite: replace the index instead of extending it.
        retry_failed: retry videos that failed in an earlier run.
        bank: captions for QB-Norm, one per line; None keeps the query bank of the index.
        cache: folder of downloaded and derived weights; None: the user's.
        workers: processes that decode, or Ray; opened by the settings.
    """

    sources: Sequence[Path]
    index: Path
    config: Config = Config()
    adapter: Path | None = None
    prune: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    bank: Path | None = None
    cache: Path | None = None
    workers: Workers = 0

    @property
    def decoding(self) -> DataConfig:
        """The settings of decoding: without Ray for a frame store, whose frames are decoded."""
        data = self.config.data
        return replace(data, ray=None) if any(is_hdf5(source) for source in self.sources) else data


@dataclass
class EncodeSummary:
    """Summary of an encoding; counts are videos."""

    index: Path
    num_new: int = 0
    num_changed: int = 0
    num_copied: int = 0  # renamed, moved or copied: not encoded again
    num_unchanged: int = 0
    num_pruned: int = 0
    num_videos: int = 0  # in the index afterwards
    num_frames: int = 0  # encoded by the model
    seconds: float = 0.0  # spent encoding
    device: str = ""
    precision: str = ""
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)  # unchanged, and not retried
    num_bytes: int = 0  # of a dry run: growth of the index
    estimate: Estimate | None = None  # of a dry run
