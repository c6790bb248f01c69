"""Records of a run: its plan before the first step, and its summary at the end."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from vopcli.datasets.records import SplitReport
from vopcli.evaluation.published import PublishedMetrics
from vopcli.evaluation.runs import Selection
from vopcli.resources import __version__


@dataclass(frozen=True)
class TrainPlan:
    """The size and the settings of a run.

    Attributes:
        estimated_bytes: of device memory, a rough estimate.
        found_ratio: fraction of the videos for training and validation that the frame store holds.
        num_processes: processes that train together.
        videos_per_process: videos of a batch that each of them holds, at most.
        published: metrics in the paper for these settings, on the test split; None: there are none.
    """

    variant: str
    folder: str
    num_train_videos: int
    num_train_captions: int
    num_val_videos: int
    val_source: str
    steps_per_epoch: int
    num_steps: int
    negatives_per_step: int
    num_trained: int
    lr: float
    device: str
    precision: str
    estimated_bytes: int
    dataset: str | None
    found_ratio: float
    published: PublishedMetrics | None
    num_processes: int = 1
    videos_per_process: int = 0


@dataclass(frozen=True)
class TrainSummary:
    """Result of a run.

    Attributes:
        plan: as it was before the first step.
        seed: of the run.
        selected: the epoch whose adapter is kept, with its metrics on the validation set.
        seconds: training time, of all sessions of a resumed run.
        num_frames: frames of a video.
        sampling: of the frames.
        num_cut_captions: truncated training captions.
        weights: the backbone, by name or path.
        fingerprint: of the backbone's tensors.
        data: reports on the splits that were used.
        data_sha256: hash of all captions and videos.
    """

    plan: TrainPlan
    seed: int
    selected: Selection
    seconds: float
    num_frames: int
    sampling: str
    num_cut_captions: int
    weights: str
    fingerprint: str
    data: Sequence[SplitReport]
    data_sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of ``vop train --json`` and of summary.json, with the versions in use."""
        return {
            **asdict(self.plan),
            "seed": self.seed,
            "selected": self.selected.to_json(),
            "seconds": self.seconds,
            "num_frames": self.num_frames,
            "sampling": self.sampling,
            "num_cut_captions": self.num_cut_captions,
            "backbone": {"weights": self.weights, "fingerprint": self.fingerprint},
            "data": {report.split: report.to_json() for report in self.data},
            "data_sha256": self.data_sha256,
            "versions": {
                "vop": __version__,
                "torch": version("torch"),
                "timm": version("timm"),
                "python": platform.python_version(),
            },
        }
