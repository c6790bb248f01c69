"""What ``vop encode`` is asked for, and what it says it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vopcli.config.choices import Precision
from vopcli.config.schema import DEFAULT_WEIGHTS
from vopcli.video.sampling import Sampling


@dataclass(frozen=True)
class EncodeRequest:
    """What to encode, with what, and where to.

    Attributes:
        sources: one frame store; or folders, videos, and lists of videos.
        index: the index to make or extend.
        weights: name or path of the model.
        adapter: what tunes it: an adapter file or a run folder; None for the plain backbone.
        device: where it runs.
        precision: the number format it computes in.
        batch_size: frames that go through the model at once; None takes what suits the device.
        sampling: which frames of videos to take; None takes the index's own rule, else 12 uniform ones.
        workers: decoding processes; None takes one for each usable core.
        prune: drop what the sources have no longer.
        overwrite: replace the index instead of extending it.
        bank: captions for QB-Norm, one a line; None keeps the index's own, if it has any.
        bank_beta: QB-Norm's inverse temperature, above 0; None: 20 for a new bank, else the bank's own.
        cache: folder of downloaded and derived weights; None for the user's.
    """

    sources: Sequence[Path]
    index: Path
    weights: str = DEFAULT_WEIGHTS
    adapter: Path | None = None
    device: str = "auto"
    precision: Precision = Precision.AUTO
    batch_size: int | None = None
    sampling: Sampling | None = None
    workers: int | None = None
    prune: bool = False
    overwrite: bool = False
    cache: Path | None = None
    bank: Path | None = None
    bank_beta: float | None = None


@dataclass
class EncodeSummary:
    """What was done; counts are videos."""

    index: Path
    num_new: int = 0
    num_changed: int = 0
    num_copied: int = 0  # moved or renamed, or a copy of a known one: not computed again
    num_unchanged: int = 0
    num_pruned: int = 0
    num_videos: int = 0  # in the index now
    num_frames: int = 0  # that went through the model
    seconds: float = 0.0  # that took
    device: str = ""
    precision: str = ""
    failures: list[tuple[str, str]] = field(default_factory=list)
